import torch

from stages.backends.scorers.border_features import QUANTITIES, WIDTH, border_features

EVERYWHERE = torch.ones(1, 4, dtype=torch.bool)


def column(name: str) -> slice:
    start = 4 * QUANTITIES.index(name)
    return slice(start, start + 4)


def grid() -> torch.Tensor:
    return torch.randn(1, 3, 10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_layout_and_mirror() -> None:
    features = border_features(grid(), EVERYWHERE)
    assert features.shape == (1, WIDTH) and features.isfinite().all()
    assert torch.allclose(border_features(grid().flip(3), EVERYWHERE), features)
    upside_down = border_features(grid().flip(2), EVERYWHERE)[0, column("change")]
    assert torch.allclose(upside_down, features[0, column("change")][[0, 1, 3, 2]])


def test_content_that_ends_at_a_side_is_seen_there_alone() -> None:
    even = torch.ones(1, 3, 10, 10, dtype=torch.float64)
    even[:, :, 0] = 5  # the row above the box
    features = border_features(even, EVERYWHERE)[0]
    assert torch.allclose(features[column("change")], torch.tensor([0.0, 0.0, 4.0, 0.0], dtype=torch.float64))


def test_nothing_changes_where_the_picture_ends() -> None:
    known = torch.tensor([[True, True, False, True]])
    features = border_features(grid(), known)[0]
    assert features[column("change")][2] == 0 and features[column("change_by_cell")][2] == 0
    assert features[column("energy_drop")][2] == 0 and (features[column("change")][[0, 1, 3]] > 0).all()


def test_a_box_does_not_depend_on_its_batch() -> None:
    many = torch.cat([grid(), grid() * 2, grid() + 1])
    together = border_features(many, EVERYWHERE.expand(3, 4))
    assert torch.allclose(together[1:2], border_features(many[1:2], EVERYWHERE), atol=1e-12)
