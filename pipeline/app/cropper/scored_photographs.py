"""The table of scored photographs that a cropper's training learns composition from.

It has windows of the run's train photographs with the scorer's opinion of typical crops.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.app.progress_bar import progress_bar
from pipeline.app.session import Session
from pipeline.core.records import MASK_SIDE, PERCEIVED_PHOTOS
from pipeline.core.seeds import digest_of, seed_for

if TYPE_CHECKING:
    from procrop_model.network.config import AnswerConfig
    from stages.backends.base.protocols import Scorer, Segmenter

LONG_SIDE = 512  # of a photograph as it is scored
QUALITY = 92  # of the JPEG in which a window is kept
AREA = (0.45, 1.0)  # of a window, as a share of its photograph
SPREAD = 0.12  # deviation of the logarithm of a window's aspect ratio against its photograph's
LEAST = 1e-3  # of a score as a share, so that its log-odds are finite
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Photo:
    key: str
    split: str
    image_offset: int
    image_size: int


@dataclass(frozen=True)
class _Mask:
    key: str
    mask: bytes


def scored_photographs(
    session: Session, answer: "AnswerConfig", windows: int, folder: Path, *, quiet: bool
) -> Path | None:
    """The table's path in ``folder``, written unless it is there; None where nothing is to be learned from it.

    Args:
        session: whose scorer judges the photographs that it has perceived.
        answer: the typical crops.
        windows: of each photograph, the first of them the whole; 0 for no table.
        folder: of the training run.
        quiet: without a progress bar.
    """
    from procrop_model.answer.typical_crops import typical_crops
    from procrop_model.training.taught import write_taught
    from stages.backends.registry import models_of

    receipts = session.run.receipts(PERCEIVED_PHOTOS)
    if not windows or not answer.typical or len(receipts) < session.run.plan.work_shards:
        return None
    models = models_of(session.recipe.models)
    boxes = typical_crops(answer.typical, answer.fill, answer.kept)
    digests = [receipt.outputs for receipt in receipts]
    identity = digest_of([windows, boxes.tolist(), models.scorer.digest, digests, LONG_SIDE, AREA, SPREAD])[:16]
    path = folder / f"scored-photographs-{identity}.parquet"
    if path.is_file():
        return path
    rows: list[dict[str, object]] = []
    with progress_bar("score photographs", quiet) as progress:
        count = session.run.plan.work_shards
        for shard in range(count):
            for key, picture, mask in _photographs(session, shard):
                for window, own in _windows(key, picture, mask, windows):
                    logits = _log_odds(models.scorer, models.segmenter, np.asarray(window), own, boxes)
                    rows.append({"photo": key, "image": _encoded(window), "logits": logits.tolist()})
            progress(shard + 1, count, {})
    write_taught(path, rows)
    return path


def _photographs(session: Session, shard: int) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """Key, picture and subject mask of each train photograph of a shard."""
    tables = session.run.tables()
    masks = {row.key: row.mask for row in tables.rows(PERCEIVED_PHOTOS, shard, _Mask)}
    path = tables.path("ingest", shard)
    for photo in tables.rows("ingest", shard, _Photo):
        if photo.split != "train" or photo.key not in masks:
            continue
        picture = Image.open(io.BytesIO(tables.read_range(path, photo.image_offset, photo.image_size))).convert("RGB")
        picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        yield photo.key, picture, Image.frombytes("L", (MASK_SIDE, MASK_SIDE), masks[photo.key])


def _windows(
    key: str, picture: Image.Image, mask: Image.Image, count: int
) -> Iterator[tuple[Image.Image, NDArray[np.uint8]]]:
    """The picture, then random windows of it, each with its part of the mask uint8 [MASK_SIDE, MASK_SIDE]."""
    rng = np.random.default_rng(seed_for(0, "scored-photographs", key))
    for number in range(count):
        share, stretch = np.sqrt(rng.uniform(*AREA)), np.exp(rng.normal(0, SPREAD))
        sides = np.array([1.0, 1.0]) if number == 0 else np.minimum(1, [share * stretch, share / stretch])
        corner = rng.random(2) * (1 - sides)
        box = np.concatenate([corner, corner + sides])
        part = mask.resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX, box=tuple(box * MASK_SIDE))
        yield picture.crop(tuple(np.round(box * np.tile(picture.size, 2)).astype(int).tolist())), np.asarray(part)


def _log_odds(
    scorer: "Scorer", segmenter: "Segmenter", image: NDArray[np.uint8], mask: NDArray[np.uint8], boxes: Floats
) -> Floats:
    """Log-odds [T] of the scores of boxes [T, 4], in 0..1 of the image."""
    from stages.backends.base.picture import LazyPicture
    from stages.backends.base.protocols import Perceiving

    height, width = image.shape[:2]
    maps = scorer.perceive([image], [mask], segmenter.digest)[0] if isinstance(scorer, Perceiving) else None
    picture = LazyPicture((width, height), lambda: image, mask, maps)
    (scores,) = scorer.score([picture], [boxes * np.array([width, height, width, height], np.float32)])
    share = np.clip(np.asarray(scores, np.float64) / 10, LEAST, 1 - LEAST)
    return np.asarray(np.log(share / (1 - share)), np.float32)


def _encoded(window: Image.Image) -> bytes:
    buffer = io.BytesIO()
    window.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
