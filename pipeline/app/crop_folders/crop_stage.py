"""Cropping as a stage, so that the executors of the pipeline crop large and remote folders, with its restarts and receipts."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.app.crop_files.batch import CroppedFile, CropTask, crop_files
from pipeline.app.crop_files.crop_photos import CropRequest, crop_limits, crop_task
from pipeline.app.crop_files.entries import PhotoRecord
from pipeline.app.crop_files.inputs import find_encoder, find_model
from pipeline.app.crop_files.names import TakenNames, output_marks
from pipeline.core.errors import SampleError
from pipeline.core.json_types import JsonObject
from pipeline.core.seeds import digest_of
from pipeline.core.stage import Outcome, Shard, Stage, Tables, Task
from pipeline.storage.open_store import open_store
from procrop_model.model_folder.digest import model_digest
from stages.photos.source_readers import SourceKind, list_inputs, read_source, source_kind

if TYPE_CHECKING:
    from procrop_model.cropper import Cropper

NAME = "crop"
# Fields of a request that do not shape the crops.
NO_SETTINGS = ("photos", "out", "save", "model", "work", "batch", "device", "again", "overwrite", "explain_entries")


@dataclass(frozen=True)
class ListedPhoto:
    """One photograph of the source. uri: its address; stamp: changes with the file; mark: what tells its outputs apart."""

    uri: str
    stamp: str
    mark: str


@dataclass(frozen=True)
class CropRow:
    """A row. key: of the photograph's address; uri: that address; files: outputs, below --out; entry: JSON of ``PhotoRecord``."""

    key: str
    uri: str
    files: list[str]
    entry: str


class CropStage(Stage[ListedPhoto]):
    """Crops the photographs of a source into a store. The prologue lists them; a shard has those whose address falls to it.

    Args:
        request: how they are cropped; its ``photos`` is the one source.
        shards: number of shards, as the plan of the run keeps it.
    """

    name = NAME
    version = 1
    record = CropRow
    prologue_needed = True

    def __init__(self, request: CropRequest, shards: int) -> None:
        self._request, self._shards = request, shards
        (self._source,) = request.photos
        self._folder = find_model(request.model, request.work)
        self.micro_batch = request.batch
        self._listed: list[ListedPhoto] | None = None
        self._cropper: Cropper | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cropper": None, "_listed": None}

    def settings(self) -> JsonObject:
        """All options that shape the crops."""
        shaping = {name: value for name, value in asdict(self._request).items() if name not in NO_SETTINGS}
        recorded: JsonObject = json.loads(json.dumps(shaping))  # as a receipt records it: lists, no tuples
        return recorded

    def models(self) -> dict[str, str]:
        """Digest of the cropper."""
        return {"cropper": model_digest(self._folder)}

    def outside(self) -> dict[str, str]:
        """Digest of the list of photographs."""
        return {"photos": digest_of([asdict(photo) for photo in self._photos()])}

    def prologue(self, tables: Tables) -> Iterator[tuple[str, bytes]]:
        """The list of each shard."""
        lists: list[list[ListedPhoto]] = [[] for _ in range(self._shards)]
        for photo in self._photos():
            lists[int(_key(photo.uri), 16) % self._shards].append(photo)
        for number, photos in enumerate(lists):
            yield _list_name(number), json.dumps([asdict(photo) for photo in photos]).encode()

    def shared_files(self, shard: int, names: Sequence[str]) -> list[str]:
        """The list of the shard alone: a photograph that is added changes one shard."""
        return [_list_name(shard)]

    def tasks(self, shard: Shard) -> list[Task[ListedPhoto]]:
        """The photographs of a shard, by key."""
        photos = (ListedPhoto(**row) for row in json.loads(shard.shared(_list_name(shard.number))))
        return sorted((Task(_key(photo.uri), photo) for photo in photos), key=lambda task: task.key)

    def run(self, tasks: Sequence[Task[ListedPhoto]], shard: Shard) -> list[Outcome]:
        """Crops by way of a temporary folder; outputs are in the store when this returns."""
        with tempfile.TemporaryDirectory(prefix="procrop-crop-") as home:
            outcomes = {task.key: self._fetched(task, Path(home)) for task in tasks}
            files = {one: key for key, one in outcomes.items() if isinstance(one, Path)}
            photos = {task.key: task.payload for task in tasks}
            for (file, key), cropped in zip(files.items(), self._crop(files, photos, Path(home)), strict=True):
                outcomes[key] = self._stored(photos[key], file, cropped, Path(home) / "out")
        return [one for one in outcomes.values() if isinstance(one, Outcome)]

    def _photos(self) -> list[ListedPhoto]:
        if self._listed is None:
            crops = below(self._request.out, self._source)
            inputs = (item for item in list_inputs(self._source) if not (crops and f"{item.uri}/".startswith(crops)))
            found = [(item.uri, item.stamp) for item in inputs]
            marks = output_marks({Path(uri): self._place(uri) for uri, _ in found})
            self._listed = [ListedPhoto(uri, stamp, marks.get(Path(uri), "")) for uri, stamp in found]
        return self._listed

    def _place(self, uri: str) -> Path:
        """The folder below --out for the crops of a photograph: that below the source, if that is a folder."""
        is_folder = source_kind(self._source) in (SourceKind.FOLDER, SourceKind.REMOTE_FOLDER)
        return Path(PurePosixPath(uri).parent) if is_folder else Path()

    def _fetched(self, task: Task[ListedPhoto], home: Path) -> Path | Outcome:
        """A copy of a photograph on this machine; or why there is none."""
        file = home / "in" / task.key / PurePosixPath(task.payload.uri.partition("#")[0]).name
        try:
            data = read_source(self._source, task.payload.uri)
        except (OSError, SampleError) as error:
            return Outcome.failed(task.key, error)
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        return file

    def _crop(self, files: dict[Path, str], photos: dict[str, ListedPhoto], home: Path) -> Iterator[CroppedFile]:
        task: CropTask = replace(
            crop_task(self._request, crop_limits(self._request), {}),
            out=home / "out",
            places={file: self._place(photos[key].uri) for file, key in files.items()},
            marks={file: photos[key].mark for file, key in files.items()},
            names=TakenNames(overwrite=True),
        )
        return crop_files(self._loaded(), list(files), task, self._request.batch) if files else iter(())

    def _loaded(self) -> "Cropper":
        if self._cropper is None:
            from procrop_model.cropper import Cropper

            device = "cpu" if self._request.device == "auto" else self._request.device
            encoder = find_encoder(self._folder, self._request.encoder_checkpoint)
            precision = self._request.precision
            self._cropper = Cropper.load(self._folder, device=device, encoder=encoder, precision=precision)
        return self._cropper

    def _stored(self, photo: ListedPhoto, file: Path, cropped: CroppedFile, out: Path) -> Outcome:
        """The outcome of one photograph, after its outputs are in the store."""
        entry, written = cropped
        key = _key(photo.uri)
        if "error" in entry:
            return Outcome.failed(key, SampleError("unreadable", entry["error"].replace(str(file), photo.uri)))
        store = open_store(self._request.out)
        names = [Path(path).relative_to(out).as_posix() for path in written]
        for name in names:
            store.write(name, (out / name).read_bytes())
        below = [Path(path).relative_to(out).as_posix() for path in entry["files"]]
        row: PhotoRecord = {**entry, "file": photo.uri, "files": below}
        return Outcome.kept(CropRow(key, photo.uri, names, json.dumps(row)))


def below(out: str, source: str) -> str:
    """``crops/`` for crops that go to a folder within the source, whose pictures are no photographs; else empty."""
    ends = [text if "://" in text else os.path.abspath(text) for text in (out, source)]
    inner, outer = (f"{end.rstrip('/')}/" for end in ends)
    return inner.removeprefix(outer) if inner.startswith(outer) else ""


def _key(uri: str) -> str:
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _list_name(shard: int) -> str:
    return f"photos-{shard:06d}.json"
