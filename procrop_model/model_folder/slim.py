"""A smaller copy of a trained cropper: weights in half precision, and fewer references that still cover the others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from pipeline.core.errors import UsageError
from pipeline.core.replace_file import replacing
from pipeline.core.resources import file_digest
from procrop_model.model_folder.save_load import load_model
from procrop_model.retrieval.database import ReferenceDatabase


def slim_model(source: Path, out: Path, references: int) -> None:
    """Writes a copy of the cropper in ``source`` to ``out``; ``config.json`` comes last. Raises ModelError and UsageError.

    Args:
        source: a model folder.
        out: another folder, created if missing.
        references: how many are kept, at least 1: farthest-point sampling by cosine similarity, from the most central one on.
    """
    if references < 1 or out.resolve() == source.resolve():
        raise UsageError("a smaller cropper needs another folder and at least one reference")
    saved = load_model(source)
    about = json.loads((source / "config.json").read_text("utf-8"))
    database, rows = saved.references, spread_rows(saved.references.vectors, references)
    fewer = ReferenceDatabase.build(
        database.vectors[rows],
        database.tokens[rows],
        [database.entries[row] for row in rows],
        database.encoder,
        database.limits,
    )
    fewer.metadata = replace(fewer.metadata, encoder_settings=database.metadata.encoder_settings)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").unlink(missing_ok=True)
    fewer.save(out / "references")
    weights = {name: tensor.half() for name, tensor in load_file(str(source / "model.safetensors")).items()}
    save_file(weights, str(out / "model.safetensors"))
    (out / "trained_on.npy").write_bytes((source / "trained_on.npy").read_bytes())
    about["weights"] = file_digest(str(out / "model.safetensors"))
    with replacing(out / "config.json") as aside:
        aside.write_text(json.dumps(about, indent=1), "utf-8")


def spread_rows(vectors: NDArray[np.float32], count: int) -> list[int]:
    """Rows of ``vectors`` [N, D], L2-normalised, that cover the others: each next one is the least similar to those before."""
    if count >= len(vectors):
        return list(range(len(vectors)))
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return sorted(chosen)
