"""Neighbours of a set that no retrieve stage saw: never the picture itself, and computed once."""

from pathlib import Path

import numpy as np

from procrop_model.network.config import CropperConfig
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.retrieval.database import Reference, ReferenceDatabase
from procrop_model.training.samples import read_split
from procrop_model.training.set_neighbours import neighbours_for


def test_an_image_and_its_photo_are_never_its_own_neighbours(
    annotated: Path, workplace: Path, tiny: CropperConfig, tmp_path: Path
) -> None:
    samples = read_split(annotated, "train")
    encoder = Lite0Encoder(tiny.input_side)
    strangers = ReferenceDatabase.load(workplace / "retrieve" / "references")
    vectors, tokens = (x.numpy() for x in encoder.features([sample.decode().image for sample in samples]))
    entries = [
        Reference(f"copy{i}", samples[i].photo if i % 2 else f"other{i}", "", "", "", "", "")
        for i in range(len(samples))
    ]
    database = ReferenceDatabase.build(
        np.concatenate([strangers.vectors, vectors]),
        np.concatenate([strangers.tokens, tokens]),
        [*strangers.entries, *entries],
        encoder.digest,
    )
    calls: list[int] = []

    def encode(images):
        calls.append(len(images))
        return encoder.features(images)[0].numpy()

    shared = {"database": database, "encode": encode, "k": 3, "folder": tmp_path}
    found = neighbours_for(samples, samples.keys, **shared)
    for i, sample in enumerate(samples):
        assert len(found[sample.key]) == 3
        assert f"copy{i}" not in [neighbour.key for neighbour in found[sample.key]]
        similarities = [neighbour.similarity for neighbour in found[sample.key]]
        assert similarities == sorted(similarities, reverse=True)
    assert neighbours_for(iter(()), samples.keys, **shared) == found  # nothing is read or computed again
    assert sum(calls) == len(samples)
    assert neighbours_for(samples, samples.keys, **{**shared, "k": 1}) != found
    none = neighbours_for(samples, samples.keys, **{**shared, "k": 0})
    assert set(none) == set(samples.keys) and not any(none.values())
