import numpy as np

from stages.backends.scorers.perceiving import maps_digest, maps_digest_of, perceive_all, score_images
from tests.fakes import FakeScorer

IMAGES = [np.full((6, 9, 3), value, np.uint8) for value in (1, 2)]


class WithMaps(FakeScorer):
    """Has one map, the picture's first value."""

    def digest_of_maps(self) -> str:
        return "maps"

    def perceive(self, images, masks, segmenter):
        return [{"first": np.full((1, 1, 1), image[0, 0, 0], np.float16)} for image in images]


def test_each_members_maps_are_under_its_prefix() -> None:
    members = {"0/": FakeScorer(), "1/": WithMaps(), "2/": WithMaps()}
    first, second = perceive_all(members, IMAGES, [], "")
    assert list(first) == ["1/first", "2/first"] and second["2/first"].item() == 2


def test_scorers_without_maps_have_no_digest_of_them() -> None:
    assert maps_digest_of(FakeScorer()) == maps_digest({"0/": FakeScorer()}) == ""
    assert maps_digest({"0/": FakeScorer(), "1/": WithMaps()}) not in ("", maps_digest({"0/": WithMaps()}))


def test_plain_images_are_scored_in_order() -> None:
    boxes = [np.array([[0, 0, 9, 6]], np.float32), np.array([[0, 0, 3, 3], [3, 2, 6, 4]], np.float32)]
    scores = score_images(FakeScorer(), IMAGES, boxes)
    assert [len(one) for one in scores] == [1, 2]
