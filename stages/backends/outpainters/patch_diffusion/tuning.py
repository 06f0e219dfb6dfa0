"""The numbers that patch diffusion was tuned by, on the ``train`` photographs alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """How canvases are painted.

    coarsest: long side of the first scale, in pixels. exhaustive_side: scales up to this long side weigh every source,
    larger ones a few carried candidates. fine_share: steps at those larger scales, as a share of the others'.
    first_noise, least_first_noise: where a scale begins, at the coarsest and at least: little, so that what lies at the
    frame goes on. spread: of the place prior, in rows and columns, as fractions of the canvas.
    """

    coarsest: float = 36.0
    exhaustive_side: int = 60
    fine_share: float = 2 / 3
    first_noise: float = 0.45
    least_first_noise: float = 0.1
    spread: tuple[float, float] = (0.09, 0.14)


TUNED = Tuning()
