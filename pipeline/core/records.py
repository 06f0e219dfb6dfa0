"""The row of each stage's table. Field types become the Parquet schema (``pipeline.shards.parquet``).

Keys are ``[a-z0-9_-]+`` of fixed width. Boxes are ``[x1, y1, x2, y2]`` pixels of the canvas, half-open.
"""

from dataclasses import dataclass, field

Boxes = list[list[float]]
PHOTO, CANVAS = "photo", "canvas"
PERCEIVED_PHOTOS, PERCEIVED_CANVASES = "perceive/photos", "perceive/canvases"  # stages of ``Perception``
# Side of a stored mask: half of the 320 that the embedded segmenter works at, so that 2 x 2 of its values become one.
MASK_SIDE = 160


@dataclass(frozen=True)
class ImageBytes:
    """The image that a row has in its shard's tar, as ``Stage.reads`` names it."""

    key: str
    image_sha256: str


@dataclass(frozen=True)
class Source:
    """One input file; ``key`` is the first 24 hex digits of the sha256 of its bytes.

    offset, size: of its bytes where it is a member of a tar, else -1 and 0; they say where it lies, not what it is.
    """

    key: str
    uri: str
    shard: int
    duplicate_of: str
    title: str
    author: str
    licence: str
    licence_url: str
    source: str
    split: str
    offset: int = field(default_factory=lambda: -1)
    size: int = field(default_factory=int)


PLACE_OF_SOURCE = ("offset", "size")


@dataclass(frozen=True)
class Photo:
    """A decoded, upright, sRGB photograph; its bytes are in the ingest tar under ``key``."""

    key: str
    uri: str
    width: int
    height: int
    phash: str
    reencoded: bool
    title: str
    author: str
    licence: str
    licence_url: str
    source: str
    split: str


@dataclass(frozen=True)
class Perception:
    """What the models see of a photo or canvas (``kind``), computed once for all later stages.

    mask: subject, uint8 [MASK_SIDE, MASK_SIDE], 255 for a pixel that is surely the subject; the picture is squeezed to a square.
    vector, tokens: of the encoder, as in ``Embedding``. maps: what the scorer computes from a canvas alone, fp16 [K, h, w] each,
    one after another; map_names and map_shapes (K, h, w of each in turn) describe them, and are empty for a scorer without any.
    faces: rows (x1, y1, x2, y2, score), xyxy in 0..1 of the picture, best first; empty in runs from before there was a detector.
    """

    key: str
    photo: str
    kind: str
    mask: bytes
    vector: bytes
    tokens: bytes
    grid_h: int
    grid_w: int
    maps: bytes
    map_names: list[str]
    map_shapes: list[int]
    faces: Boxes = field(default_factory=list)


@dataclass(frozen=True)
class Signature:
    """What identifies a photo after edits.

    phash, mirrored: perceptual hashes of it and of its mirror image; thumb: gray uint8 [32, 32]; vector: fp16 [D].
    """

    key: str
    uri: str
    split: str
    pixels: int
    phash: str
    mirrored: str
    thumb: bytes
    vector: bytes


@dataclass(frozen=True)
class Caption:
    """Prompts of one photo: its content, its surroundings, and what to avoid."""

    key: str
    inside: str
    beyond: str
    negative: str


@dataclass(frozen=True)
class Canvas:
    """A photo on a larger, out-painted picture; its bytes are in the outpaint tar under ``key``.

    ``photo_box`` is the pseudo-label: the photo's own rectangle on the canvas.
    """

    key: str
    photo: str
    variant: int
    width: int
    height: int
    photo_box: list[int]
    subject_box: list[int]
    prompt: str
    negative_prompt: str
    seed: int
    outpainter: str
    seam: str
    split: str


@dataclass(frozen=True)
class CanvasSize:
    """The columns of ``Canvas`` that a stage of boxes needs."""

    key: str
    width: int
    height: int


@dataclass(frozen=True)
class Proposals:
    """Candidate crops of one canvas; the first is always the pseudo-label (origin ``photo``)."""

    key: str
    photo: str
    boxes: Boxes
    origins: list[str]


@dataclass(frozen=True)
class Refined:
    """The boxes of a canvas after a round, with their scores. gain: of the mean score of the best distinct boxes."""

    key: str
    photo: str
    round: int
    boxes: Boxes
    origins: list[str]
    scores: list[float]
    gain: float
    active: bool


@dataclass(frozen=True)
class Crops:
    """The crops that ``filter`` kept of a canvas, with scores in 0..10, the pseudo-label first."""

    key: str
    photo: str
    boxes: Boxes
    origins: list[str]
    scores: list[float]
    best_score: float


@dataclass(frozen=True)
class Embedding:
    """Features of a photo or canvas (``kind``). ``vector`` is fp16 [D], L2-normalised; ``tokens`` is fp16 [grid_h * grid_w, C]."""

    key: str
    photo: str
    kind: str
    split: str
    vector: bytes
    tokens: bytes
    grid_h: int
    grid_w: int


@dataclass(frozen=True)
class Neighbours:
    """The k most similar professional photographs of a canvas, best first; never its own photo."""

    key: str
    photo: str
    references: list[str]
    similarities: list[float]
