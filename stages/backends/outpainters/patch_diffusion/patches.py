"""The patches of a canvas: extracted for the denoiser, and averaged again from its estimates."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.denoiser import Queries
from stages.backends.outpainters.patch_diffusion.pyramid import PATCH, Level

# Noise of known pixels as a share of sigma, and its least value: with none at all, a single source would take all the weight.
KNOWN_NOISE, LEAST_KNOWN_NOISE = 0.3, 0.02
SEAM_VOTE = 3.0  # weight of a patch in the average rises to 1 + this with its share of known pixels
EDGE_MARGIN = 0.06  # of the canvas: patches above and below the photo look for sources this far inside its edge
# Neighbouring pixels are correlated, so that a patch is worth fewer independent observations than it has values.
REDUNDANCY = (3 * PATCH * PATCH) ** 0.5 / 4


class PatchGrid:
    """Patches every ``level.stride`` pixels that hold at least one unknown pixel: the active ones, A in number.

    active: [A], indices into the grid. seam: [A], whether a patch holds known pixels too.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        known = F.unfold(level.known(), PATCH, stride=level.stride)[0].T  # [G, P]
        share = known.mean(1)
        self.active = (share < 1).nonzero()[:, 0]
        self.known = known[self.active] > 0
        self.seam = share[self.active] > 0
        self.place = self._places()[self.active]
        hann = torch.hann_window(PATCH + 2, periodic=False)[1:-1]
        self.window = (hann[:, None] * hann).reshape(1, 1, -1)
        self.votes = self.window * (1 + SEAM_VOTE * share[self.active, None, None])

    def _places(self) -> Tensor:
        """Where the place prior of each patch is centred [G, 2], (row, column) as fractions of the canvas.

        For patches above and below the photo that is near the photo's edge.
        """
        height, width = self.level.size
        row = torch.arange(self.level.grid[0]) * self.level.stride / height
        column = torch.arange(self.level.grid[1]) * self.level.stride / width
        top, bottom = self.level.box[1] / height, (self.level.box[3] - PATCH) / height
        margin = min(EDGE_MARGIN, max(0.0, bottom - top) / 2)
        row = row.clamp(top + margin, max(top, bottom) - margin)
        return torch.cartesian_prod(row, column)

    def queries(self, noisy: Tensor, sigma: float) -> Queries:
        """Active patches of a canvas [1, 3, H, W] with noise ``sigma``; known pixels get far less noise."""
        values = F.unfold(noisy, PATCH, stride=self.level.stride)[0].T[self.active]
        known = max(LEAST_KNOWN_NOISE, KNOWN_NOISE * sigma)
        weight = torch.where(self.known, known**-2, sigma**-2) / REDUNDANCY
        return Queries(values.reshape(-1, 3, PATCH * PATCH), weight, self.place)

    def blend(self, estimates: Tensor, canvas: Tensor, sharpness: float | None = None) -> Tensor:
        """Overlapping estimates [A, 3, P] averaged into [1, 3, H, W]; where there is none, ``canvas``.

        The average has a Hann window, and patches with known pixels weigh more; or, with ``sharpness``, that power of the
        window, and all patches weigh the same.
        """
        height, width = self.level.grid
        votes = self.votes if sharpness is None else self.window.pow(sharpness).expand(len(estimates), 1, -1)
        full = estimates.new_zeros(height * width, 4, PATCH * PATCH)
        full[self.active] = torch.cat([estimates * votes, votes], 1)
        total = F.fold(full.flatten(1).T[None], self.level.size, PATCH, stride=self.level.stride)
        weight = total[:, 3:]
        return torch.where(weight > 1e-6, total[:, :3] / weight.clamp_min(1e-6), canvas)
