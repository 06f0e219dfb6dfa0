"""Faces that a crop cuts are counted, and photographs without any count for nothing."""

import numpy as np
import pytest

from procrop_model.evaluation.face_cuts import FaceCuts, can_hold, face_figures, faces_cut

FACES = np.array([[0.2, 0.3, 0.4, 0.6, 0.9], [0.6, 0.4, 0.65, 0.48, 0.7]], np.float32)


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ((0, 0, 1, 1), FaceCuts(2, 0, 0, 1, 0)),
        ((0.1, 0.1, 0.62, 1), FaceCuts(2, 1, 1, 1, 0)),
        ((0.1, 0.24, 0.5, 1), FaceCuts(2, 0, 1, 1, 1)),
        ((0.3, 0.1, 1, 1), FaceCuts(2, 1, 1, 1, 1)),
        ((0.5, 0.1, 1, 1), FaceCuts(2, 0, 0, 1, 1)),
    ],
)
def test_cut_faces_and_heads_are_counted(crop: tuple[float, ...], expected: FaceCuts) -> None:
    assert faces_cut(crop, FACES) == expected


def test_sums_and_shares() -> None:
    both = faces_cut((0.1, 0.1, 0.62, 1), FACES) + faces_cut((0, 0, 1, 1), FACES)
    assert both == FaceCuts(4, 1, 1, 2, 0) and both.share_cut == both.share_of_heads_cut == 0.25
    nothing = faces_cut((0, 0, 0.5, 0.5), np.zeros((0, 5), np.float32))
    assert nothing == FaceCuts() and nothing.share_cut == nothing.share_of_heads_cut == 0


def test_a_window_holds_heads_that_lie_near() -> None:
    apart = np.array([[0.05, 0.3, 0.15, 0.45, 0.9], [0.85, 0.3, 0.95, 0.45, 0.9]], np.float32)
    assert can_hold(apart, None, (900, 600)) and can_hold(apart, 16 / 9, (900, 600))
    assert not can_hold(apart, 1.0, (900, 600)) and can_hold(apart[:1], 1.0, (900, 600))
    assert can_hold(np.zeros((0, 5), np.float32), 1.0, (900, 600))


def test_figures_of_methods_count_each_face_once() -> None:
    none = np.zeros((0, 5), np.float32)
    whole, part = np.array([0, 0, 1, 1.0]), np.array([0.1, 0.1, 0.62, 1])
    told = face_figures(
        {"model": [part, whole, whole], "identity": [whole] * 3}, [FACES, FACES[:1], none], ["a", "b", "c"]
    )
    assert told["pictures"] == 2 and told["faces"] == 3
    assert told["rows"]["model"]["faces_cut"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert told["rows"]["identity"] == {name: [0, 0, 0] for name in ("faces_cut", "heads_cut", "prominent_lost")}
    assert face_figures({"model": [whole]}, [none], ["a"])["rows"]["model"]["faces_cut"] == [0, 0, 0]
