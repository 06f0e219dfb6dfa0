"""Parameters of patch diffusion, tuned on the ``train`` photographs alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """How canvases are painted.

    Args:
        coarsest: long side of the first scale in pixels. At 36 the subject is not repeated beyond the frame.
        exhaustive_side: scales up to this long side weigh every source, larger ones a few carried candidates.
        search_side: the search ends at this long side; the detail of a larger canvas beyond it is copied.
        fine_share: steps at the scales above ``exhaustive_side``, as a share of the others'.
        first_noise: noise that the coarsest scale starts with. It is low, so that structures at the frame continue.
        least_first_noise: least noise that any scale starts with.
        spread: deviation of the place prior in rows and columns, as fractions of the canvas.
    """

    coarsest: float = 36.0
    exhaustive_side: int = 60
    search_side: int = 192
    fine_share: float = 2 / 3
    first_noise: float = 0.45
    least_first_noise: float = 0.1
    spread: tuple[float, float] = (0.09, 0.14)


TUNED = Tuning()
