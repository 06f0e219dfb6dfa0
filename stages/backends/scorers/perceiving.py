"""Scoring plain images, and the maps of scorers that consist of several: each member's, under a prefix of its own.

``LazyPicture.part`` undoes the prefix.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.seeds import digest_of
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid
from stages.backends.base.protocols import Floats, Image, Perceiving, Scorer


def score_images(scorer: Scorer, images: Sequence[Image], boxes: Sequence[Floats]) -> list[Floats]:
    """Scores [N] of the ``boxes`` [N, 4], pixels, of each uint8 image [H, W, 3] of which nothing was perceived before."""
    return scorer.score([LazyPicture.of(image) for image in images], boxes)


def maps_digest(members: Mapping[str, Scorer]) -> str:
    """Of the members' maps by prefix; empty when none has any."""
    found = {prefix: maps_digest_of(member) for prefix, member in members.items()}
    return digest_of(found)[:16] if any(found.values()) else ""


def maps_digest_of(scorer: Scorer) -> str:
    """The digest of a scorer's maps; empty for a scorer that has none."""
    return scorer.digest_of_maps() if isinstance(scorer, Perceiving) else ""


def perceive_all(
    members: Mapping[str, Scorer], images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str
) -> list[Maps]:
    """The maps of all members, one mapping an image; a name is the member's prefix and its own name of the map."""
    joined: list[Maps] = [{} for _ in images]
    for prefix, member in members.items():
        if isinstance(member, Perceiving):
            made = member.perceive(images, masks, segmenter)
            joined = [
                {**known, **{prefix + name: array for name, array in maps.items()}}
                for known, maps in zip(joined, made, strict=True)
            ]
    return joined
