"""Crops that cut a head are known, and faces that the painter invented are told from the photo's own."""

import numpy as np

from stages.canvases.canvas_faces import CanvasFaces, invented_face

SIZE = (400, 200)
OWN, OTHER = [0.4, 0.4, 0.5, 0.6, 0.9], [0.85, 0.1, 0.95, 0.3, 0.7]
PHOTO = (100, 40, 300, 180)


def test_boxes_that_cut_a_head_or_lack_it_are_told() -> None:
    faces = CanvasFaces([OWN], SIZE)
    assert faces.cut([(100, 40, 300, 180), (180, 40, 300, 180), (100, 90, 300, 180), (300, 0, 400, 200)]) == [
        False, True, True, True,
    ]  # fmt: skip
    assert faces.cut([]) == []


def test_a_canvas_without_faces_cuts_none() -> None:
    assert CanvasFaces([], SIZE).cut([(0, 0, 10, 10), (5, 5, 300, 100)]) == [False, False]


def test_a_face_outside_the_photo_is_invented() -> None:
    assert invented_face([OWN], PHOTO, SIZE) is None and invented_face([], PHOTO, SIZE) is None
    score, share = invented_face([OWN, OTHER], PHOTO, SIZE) or (0, 0)
    assert score == 0.7 and np.isclose(share, 0.02)


def test_a_face_that_the_frame_cuts_is_the_photos_own() -> None:
    assert invented_face([[0.22, 0.3, 0.32, 0.5, 0.8]], PHOTO, SIZE) is None
    assert invented_face([[0.16, 0.3, 0.26, 0.5, 0.8]], PHOTO, SIZE) is not None
