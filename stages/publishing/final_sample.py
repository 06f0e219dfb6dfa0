"""A sample of the final shards: its JSON, and the array of its crops."""

import io
import json
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class FinalSample:
    """One sample's JSON, and the row of the metadata table. Every key is always there and nothing is null (DESIGN 5)."""

    key: str
    photo: str
    width: int
    height: int
    photo_box: list[int]
    crops: list[list[float]]
    scores: list[float]
    origins: list[str]
    prompt: str
    negative_prompt: str
    seed: int
    outpainter: str
    scorer: str
    licence: str
    author: str
    source: str


def left_out_sample(key: str) -> FinalSample:
    """The row of a canvas that is left out: a table without nulls keeps its types in every reader."""
    return FinalSample(key, "", -1, -1, [], [], [], [], "", "", -1, "", "", "", "", "")


def sample_json(sample: FinalSample) -> str:
    """Fixed key order, floats always written as floats: HF infers types from the first rows."""
    return json.dumps({f.name: getattr(sample, f.name) for f in fields(FinalSample)}, ensure_ascii=False)


def sample_labels(sample: FinalSample) -> bytes:
    """npy of float32 [n, 5]: x1, y1, x2, y2, score of each crop, the pseudo-label first."""
    rows = [[*box, score] for box, score in zip(sample.crops, sample.scores, strict=True)]
    return _npy_header(len(rows)) + np.asarray(rows, "<f4").tobytes()


@lru_cache(maxsize=1024)
def _npy_header(rows: int) -> bytes:
    """What an .npy of float32 [rows, 5] begins with; ``np.save`` would take longer to make it than all the rest of a sample."""
    sink = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (rows, 5)}
    np.lib.format.write_array_header_1_0(sink, about)
    return sink.getvalue()
