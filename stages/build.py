"""Build: the final WebDataset shards, their metadata, index, checksums and card. Pixels are copied, never re-encoded."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow.compute as pc
from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import Canvas, Crops, Signature
from pipeline.core.settings import Settings
from pipeline.core.stage import KEPT, Outcome, Shard, Stage, Tables, Task
from pipeline.shards import parquet
from pipeline.shards.jpeg_xmp import with_xmp
from pipeline.shards.provenance import Provenance, xmp_packet
from pipeline.storage.base import checked
from stages.backends.base.protocols import Encoder, Scorer
from stages.near_duplicates.build_leak_report import LEAKS, build_leak_report
from stages.near_duplicates.excluded_sets import excluded_digest
from stages.near_duplicates.split_leaks import REASONS
from stages.publishing.dataset_facts import Models
from stages.publishing.dataset_files import dataset_files
from stages.publishing.final_sample import FinalSample, left_out_sample, sample_json, sample_labels
from stages.publishing.licence_report import LICENCES
from stages.publishing.licence_verdict import LicencePolicy, refused_photos
from stages.publishing.licences import LICENCE_REASONS
from stages.publishing.shard_assignment import LeftOut, RowsByShard, assign_shards, spread_over_shards

NAMES = "names.json"


class BuildSettings(Settings):
    """Settings of the final dataset.

    Args:
        name: of the dataset, part of every file name.
        shards: number of final shards over all splits together, at most: a shard needs a sample.
        exact: want exactly ``shards`` shards; fewer samples than shards are an error then.
        exclude_near: folders of test sets (or another input as ``ingest.source`` takes it); photographs near one of their pictures
            are left out.
        near_duplicates: leave out all but the largest of near photographs within a split; across splits they are always left out.
        licence_policy: ``strict`` leaves out photographs of non-commercial, no-derivatives and unknown licences; ``warn`` names
            them when it builds; ``list`` only counts them in the card.
    """

    name: str = Field("procrop", pattern=r"^[a-z0-9_]+$", max_length=40)
    shards: int = Field(256, ge=1, le=999_999)
    exact: bool = False
    exclude_near: tuple[str, ...] = ()
    near_duplicates: bool = True
    licence_policy: LicencePolicy = "warn"


@dataclass(frozen=True)
class _Credits:
    """The columns of ``Photo`` that a sample names."""

    key: str
    title: str
    author: str
    licence: str
    licence_url: str
    source: str


@dataclass(frozen=True)
class _StoredCanvas(Canvas):
    """A canvas with the place of its image in the out-paint tar."""

    image_offset: int
    image_size: int
    image_sha256: str


@dataclass(frozen=True)
class _Placed:
    """A sample's record in the prologue's files, with where its image is and what its bytes hash to.

    title, licence_url: of the photograph, which the image names and the sample does not.
    """

    key: str
    sample: str
    title: str
    licence_url: str
    path: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class _LeftOut:
    """A canvas that is left out because of its photo. reason: one of ``REASONS`` or ``LICENCE_REASONS``."""

    key: str
    reason: str
    detail: str


class Build(Stage[_Placed | _LeftOut]):
    """Writes the final shards. The prologue writes one small table a shard, so that a shard depends on its own samples only."""

    name = "build"
    version = 4  # 3: licences; 4: XMP in each canvas
    upstream = ("ingest", "dedup", "outpaint", "filter")
    reads = MappingProxyType(
        {"ingest": (_Credits,), "dedup": (Signature,), "outpaint": (_StoredCanvas,), "filter": (Crops,)}
    )
    record = FinalSample
    reasons = (*REASONS, *LICENCE_REASONS)
    extensions = ("jpg", "json", "npy")
    micro_batch = 1024
    prologue_needed = True
    epilogue_needed = True
    regroups = True

    def __init__(self, settings: BuildSettings, scorer: Scorer, encoder: Encoder, models: Models = ()) -> None:
        """models: all that had a part in the dataset, for its card."""
        self._settings = settings
        self._scorer = scorer
        self._encoder = encoder
        self._models = models
        self._painter_licence = next((licence for role, _, licence in models if role == "outpainter"), "")

    def settings(self) -> JsonObject:
        settings = self._settings.model_dump(mode="json", exclude={"exact", "licence_policy"})  # they shape no byte
        return {**settings, "strict_licences": self._settings.licence_policy == "strict",
            "painter_licence": self._painter_licence,
        }  # fmt: skip

    def models(self) -> dict[str, str]:
        return {"scorer": self._scorer_word(), "encoder": self._encoder.digest}

    def _scorer_word(self) -> str:
        return f"{self._scorer.name}@{self._scorer.digest}"

    def outside(self) -> dict[str, str]:
        folders = self._settings.exclude_near
        return {"exclude_near": excluded_digest(folders)} if folders else {}

    def shards(self, work_shards: int) -> int:
        return self._settings.shards

    def prologue(self, tables: Tables) -> Iterator[tuple[str, bytes]]:
        """Which sample goes where, decided once over all work shards; the samples themselves are regrouped on disk."""
        parts = tables.shards("filter")
        licences, refused = self._licences(tables, parts)
        leaks = build_leak_report(tables, self._settings, self._encoder, refused)
        left_out: LeftOut = {**refused, **{photo: (leak.reason, leak.detail) for photo, leak in leaks.by_photo.items()}}
        gone: list[tuple[str, str]] = []
        assigned = assign_shards(
            (self._wanted(tables, part, left_out, gone) for part in parts),
            self._settings.shards, tables.run_seed, self._settings.name, exact=self._settings.exact,
        )  # fmt: skip
        yield NAMES, json.dumps(assigned.stems).encode()
        yield LEAKS, leaks.encode()
        yield LICENCES, json.dumps([[*names, count] for names, count in sorted(licences.items())]).encode()
        schema = parquet.schema_of(_Placed)
        with tempfile.TemporaryDirectory() as folder:
            rows_by_shard = RowsByShard(Path(folder))
            for part, places in zip(parts, assigned.places, strict=True):
                rows_by_shard.add(
                    (number, place, asdict(item))
                    for (number, place), item in zip(places.tolist(), self._placed(tables, part, left_out), strict=True)
                )
            dropped = spread_over_shards(gone, len(assigned.stems))
            for number in range(self._settings.shards):
                rows = rows_by_shard.take(number) if number < len(assigned.stems) else []
                placed = [Outcome.kept(_Placed(**value)) for value in rows]
                rejects = [Outcome.rejected(key, *left_out[photo]) for key, photo in sorted(dropped.get(number, ()))]
                yield f"{number:06d}.parquet", parquet.encode([parquet.row_of(o) for o in [*placed, *rejects]], schema)

    def _licences(self, tables: Tables, parts: Sequence[int]) -> tuple[Counter[tuple[str, str]], LeftOut]:
        """Photographs with a canvas by (licence, address), and those that a strict policy leaves out."""
        counts: Counter[tuple[str, str]] = Counter()
        refused: LeftOut = {}
        for part in parts:
            used = set(tables.columns("filter", part, ["photo"])["photo"].to_pylist())
            photos = [photo for photo in tables.rows("ingest", part, _Credits) if photo.key in used]
            counts.update((photo.licence, photo.licence_url) for photo in photos)
            if self._settings.licence_policy == "strict":
                refused |= refused_photos((photo.key, photo.licence, photo.licence_url) for photo in photos)
        return counts, refused

    @staticmethod
    def _wanted(
        tables: Tables, part: int, left_out: LeftOut, gone: list[tuple[str, str]]
    ) -> tuple[list[str], list[str]]:
        """Keys and splits of a work shard's canvases; those of photos that are left out go to ``gone`` with their photo."""
        canvases = tables.columns("outpaint", part, ["key", "split"])
        splits = dict(zip(canvases["key"].to_pylist(), canvases["split"].to_pylist(), strict=True))
        kept = tables.columns("filter", part, ["key", "photo"])
        pairs = list(zip(kept["key"].to_pylist(), kept["photo"].to_pylist(), strict=True))
        gone += [pair for pair in pairs if pair[1] in left_out]
        keys = [key for key, photo in pairs if photo not in left_out]
        return keys, [splits[key] for key in keys]

    def _placed(self, tables: Tables, part: int, left_out: LeftOut) -> Iterator[_Placed]:
        """The samples of a work shard."""
        path = tables.path("outpaint", part)
        canvases = {canvas.key: canvas for canvas in tables.rows("outpaint", part, _StoredCanvas)}
        credits = {photo.key: photo for photo in tables.rows("ingest", part, _Credits)}
        for crops in tables.rows("filter", part, Crops):
            if crops.photo in left_out:
                continue
            canvas = canvases[crops.key]
            photo = credits[crops.photo]
            text, place = sample_json(self._sample(canvas, crops, photo)), (canvas.image_offset, canvas.image_size)
            yield _Placed(crops.key, text, photo.title, photo.licence_url, path, *place, canvas.image_sha256)

    def _sample(self, canvas: Canvas, crops: Crops, credits: _Credits) -> FinalSample:
        return FinalSample(
            key=canvas.key,
            photo=canvas.photo,
            width=canvas.width,
            height=canvas.height,
            photo_box=canvas.photo_box,
            crops=[[float(v) for v in box] for box in crops.boxes],
            scores=[float(v) for v in crops.scores],
            origins=crops.origins,
            prompt=canvas.prompt,
            negative_prompt=canvas.negative_prompt,
            seed=canvas.seed,
            outpainter=canvas.outpainter,
            scorer=self._scorer_word(),
            licence=credits.licence,
            author=credits.author,
            source=credits.source,
        )

    def shared_files(self, shard: int, names: Sequence[str]) -> list[str]:
        return [f"{shard:06d}.parquet"]

    def paths(self, shard: int, shared: Callable[[str], bytes]) -> tuple[str, str]:
        """A shard that no sample is left for has no tar, and its table is not part of the dataset."""
        stems = json.loads(shared(NAMES))
        if shard >= len(stems):
            return "", f"{self.name}/{shard:06d}.parquet"
        return f"dataset/shards/{stems[shard]}.tar", f"dataset/metadata/{stems[shard]}.parquet"

    def index_path(self, shard: int, shared: Callable[[str], bytes]) -> str:
        stems = json.loads(shared(NAMES))
        return f"dataset/index/{stems[shard]}.idx" if shard < len(stems) else ""

    def tasks(self, shard: Shard) -> list[Task[_Placed | _LeftOut]]:
        table = parquet.decode_table(shard.shared(f"{shard.number:06d}.parquet"))
        is_kept = pc.equal(table["status"], KEPT)
        items: list[_Placed | _LeftOut] = [
            *parquet.kept_records(_Placed, table.filter(is_kept)),
            *parquet.kept_records(_LeftOut, table.filter(pc.invert(is_kept))),
        ]
        return [Task(item.key, item) for item in items]

    def run(self, tasks: Sequence[Task[_Placed | _LeftOut]], shard: Shard) -> list[Outcome]:
        return [self._one(task.payload, shard) for task in tasks]

    def _one(self, item: _Placed | _LeftOut, shard: Shard) -> Outcome:
        if isinstance(item, _LeftOut):
            return Outcome.rejected(item.key, item.reason, item.detail, left_out_sample(item.key))
        data = shard.read_range(item.path, item.offset, item.size)
        image = checked(data, item.sha256, f"'{item.key}' of '{item.path}'")
        sample = FinalSample(**json.loads(item.sample))
        files = {
            "jpg": self._marked(image, item, sample),
            "json": item.sample.encode(),
            "npy": sample_labels(sample),
        }
        return Outcome.kept(sample, files)

    def _marked(self, image: bytes, item: _Placed, sample: FinalSample) -> bytes:
        """The canvas with its provenance in a segment of its own; the pixels stay as they are."""
        painter, _, version = sample.outpainter.partition("@")
        x1, y1, x2, y2 = sample.photo_box
        about = Provenance(
            (x1, y1, x2, y2), item.licence_url, sample.source, painter, version, self._painter_licence, sample.prompt,
            item.title, sample.author, sample.licence,
        )  # fmt: skip
        return with_xmp(image, xmp_packet(about))

    def epilogue(self, tables: Tables) -> Iterator[tuple[str, bytes | Path]]:
        """Index, checksums, credits and papers, beside the tars."""
        return dataset_files(self._settings.name, self.name, tables, self._models)
