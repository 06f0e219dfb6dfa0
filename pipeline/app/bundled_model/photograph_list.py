"""The list of photographs that a cropper was made from, for its card."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.stage import Tables
from stages.photos.file_names import name_of_text
from stages.retrieve import LEAKS_FILE

COLUMNS = ("file", "author", "licence", "source", "sha256", "split")


@dataclass(frozen=True)
class _Credited:
    """The columns of ``Photo`` that the list needs."""

    key: str
    uri: str
    author: str
    licence: str
    source: str
    split: str


def photograph_list(tables: Tables, folder: Path) -> bytes:
    """A CSV with ``COLUMNS``, one row for each photograph that ingest kept and ``build`` did not leave out as a near-duplicate.

    Args:
        tables: of a run after its last stage.
        folder: its input; ``sha256`` is of the file there.

    Raises StorageError if a file is not the one that was ingested.
    """
    leaks = {leak["photo"] for leak in json.loads(tables.shared(LEAKS_FILE))["leaks"]}
    photos = (photo for shard in tables.shards("ingest") for photo in tables.rows("ingest", shard, _Credited))
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for photo in sorted(photos, key=lambda photo: photo.uri):
        if photo.key not in leaks:
            digest = _sha256(folder / name_of_text(photo.uri), photo.key)
            table.writerow([photo.uri, photo.author, photo.licence, photo.source, digest, photo.split])
    return text.getvalue().encode()


def _sha256(path: Path, key: str) -> str:
    """sha256 of a photograph; its key is the start of it."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError(
            f"'{path}' cannot be read any more ({error.strerror}): run the same command again"
        ) from error
    if not digest.startswith(key):
        raise StorageError(f"'{path}' changed while the command ran: run it again")
    return digest
