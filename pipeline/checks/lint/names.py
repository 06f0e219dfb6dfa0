"""Finds the shards of a dataset and checks their names (DESIGN 5.1)."""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import UsageError

SHARD = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)-(?P<split>train|val|validation|test)-(?P<number>\d{6})\.tar$")
TEMPORARY = re.compile(
    r"(^\.|^tmp|^temp|[._-](partial|part|tmp|temp|incomplete|writing|crdownload)([._-]|$))", re.IGNORECASE
)
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# Where the files that belong beside shards are, as 'build' lays them out.
FOLDERS_BESIDE = {"metadata", "index", "checksums", ".nv-meta"}
# report(file, rule, what, fix)
Report = Callable[[Path, str, str, str], None]


@dataclass(frozen=True)
class Shards:
    """The tars to check.

    Args:
        tars: their paths.
        beside: other files in the same folders.
        whole: folders that were listed completely, so that a missing number is an error.
    """

    tars: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    whole: set[Path] = field(default_factory=set)


def find_shards(paths: Sequence[str]) -> Shards:
    """The shards that arguments name, each once; a run directory stands for its dataset. Raises UsageError for none."""
    unique: dict[Path, None] = {}
    shards = Shards()
    for text in paths:
        path = Path(text)
        if path.is_dir():
            hits = _in_folder(path, shards)
        elif path.is_file():
            hits = [path]
        else:
            hits = sorted(Path(hit) for hit in glob.glob(text, recursive=True) if Path(hit).is_file())
        if not hits:
            raise UsageError(f"no tars at '{text}': give a folder, a glob or files (lint reads local files)")
        unique.update(dict.fromkeys(hits))
    seen: set[Path] = set()
    for path in unique:
        if path.resolve() not in seen:
            seen.add(path.resolve())
            shards.tars.append(path)
    return shards


def _in_folder(folder: Path, shards: Shards) -> list[Path]:
    if (folder / "plan.json").is_file() and (folder / "dataset").is_dir():
        folder = folder / "dataset"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hits = [path for path in files if path.name.endswith((".tar", *PACKED))]
    homes = {path.parent for path in hits}
    shards.whole.update(homes)
    shards.beside.extend(path for path in files if path.parent in homes and path not in hits)
    return hits


def check_names(shards: Shards, report: Report) -> None:
    """Check names and numbers of shards, and the other files in their folders."""
    groups: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in shards.tars:
        match = SHARD.match(path.name)
        if path.name.endswith(PACKED):
            report(path, "plain-tar", "a compressed tar", "unpack it: random access needs a plain tar")
        elif TEMPORARY.search(path.name):
            what = "a temporary name that ends in .tar: readers take it for a shard"
            report(path, "temporary-name", what, "remove it, or finish writing and rename it")
        elif match is None:
            what = "not <name>-<split>-000000.tar with split train, val or test"
            report(path, "shard-name", what, "rename it: readers tell splits by the name")
        else:
            groups.setdefault((path.parent, path.name[: match.start("number")]), {})[int(match["number"])] = path
    for (folder, stem), numbers in groups.items():
        _check_numbers(stem, numbers, folder in shards.whole, report)
    for path in shards.beside:
        if TEMPORARY.search(path.name) or ".tar." in path.name:
            report(path, "left-over", "seems to be an unfinished shard", "remove it when no process is writing it")
        elif path.parent.name not in FOLDERS_BESIDE and path.name not in ("README.md", "sha256sum.txt"):
            report(path, "beside", "lies among the shards", "keep indexes and tables in a folder beside them")


def _check_numbers(stem: str, numbers: dict[int, Path], whole: bool, report: Report) -> None:
    """Numbers of one split follow one another, from 0 when the whole folder was listed."""
    ordered = sorted(numbers)
    for before, number in _gaps(ordered, whole):
        missing = f"{stem}{before + 1:06d}" + (f" to {number - 1:06d}" if number - 1 > before + 1 else "")
        report(
            numbers[number], "shard-numbers", f"{missing} is missing before it", "copy it again, or renumber the shards"
        )


def _gaps(ordered: Sequence[int], whole: bool) -> Iterator[tuple[int, int]]:
    before = -1 if whole else ordered[0] - 1
    for number in ordered:
        if number != before + 1:
            yield before, number
        before = number
