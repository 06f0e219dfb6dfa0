"""The numbers that tell the two versions of patch diffusion apart; all else they share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """How one version paints.

    coarsest: long side of the first scale, in pixels. exhaustive_side: scales up to this long side weigh every source,
    larger ones a few carried candidates. fine_share: steps at those larger scales, as a share of the others'.
    first_noise, least_first_noise: where a scale begins, at the coarsest and at least. spread: of the place prior, in
    rows and columns, as fractions of the canvas. copied_detail: whether the finest detail is copied from the best
    matches after the last step, not averaged.
    """

    coarsest: float
    exhaustive_side: int
    fine_share: float
    first_noise: float
    least_first_noise: float
    spread: tuple[float, float]
    copied_detail: bool


VERSIONS = {
    1: Tuning(
        coarsest=26.0,
        exhaustive_side=72,
        fine_share=1.0,
        first_noise=1.2,
        least_first_noise=0.22,
        spread=(0.09, 0.22),
        copied_detail=False,
    ),
    2: Tuning(
        coarsest=36.0,
        exhaustive_side=60,
        fine_share=2 / 3,
        first_noise=0.45,
        least_first_noise=0.1,
        spread=(0.09, 0.14),
        copied_detail=True,
    ),
}
