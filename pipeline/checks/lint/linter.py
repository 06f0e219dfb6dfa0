"""``lint``: checks the shard rules of DESIGN 5 on any WebDataset; it trusts no file and reports every error it meets."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.checks.lint.content import check_content
from pipeline.checks.lint.json_schema import JsonSchema
from pipeline.checks.lint.names import Shards, check_names, find_shards
from pipeline.checks.lint.tar import Member, read_member, walk_members
from pipeline.shards.tar_writer import MAX_NAME

__all__ = ["ERROR", "NOTE", "LintFinding", "Linter", "find_shards"]

ERROR, NOTE = "error", "note"
NOTES = {"left-over", "beside", "key-width", "shard-size", "huge-member", "provenance-credits"}
MAX_LISTED_PER_RULE = 10  # findings of one rule that are listed in full for one file
MANY_SAMPLES = 10_000
SMALL, LARGE = 100_000_000, 1_000_000_000
MAX_CHECKED_BYTES = 256_000_000
KEY, EXTENSION = re.compile(r"^[a-z0-9_-]+$"), re.compile(r"^[a-z0-9]+$")


@dataclass(frozen=True)
class LintFinding:
    """A broken rule.

    Args:
        severity: ``error`` or ``note``.
        file: path of the tar.
        offset: byte in the file; the start of the member's header for errors in its content.
        rule: name of the rule.
        what: the error.
        fix: what to do.
    """

    severity: str
    file: str
    offset: int
    rule: str
    what: str
    fix: str

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.severity}: {self.file} @{self.offset} {self.rule}: {self.what}; {self.fix}"

    def as_json(self) -> dict[str, str | int]:
        """An entry of ``lint --json``."""
        return asdict(self)


@dataclass
class _Sample:
    """Members of one key that follow one another."""

    key: str
    offset: int
    parts: list[str]


class Linter:
    """Checks shards one after another; memory grows with the number of keys only.

    Args:
        progress: is called with the number of bytes checked since its last call.
        provenance: check that each image says how it came to be.
    """

    def __init__(self, progress: Callable[[int], None] = lambda size: None, *, provenance: bool = False) -> None:
        self._progress = progress
        self._provenance = provenance
        self._counts: Counter[str] = Counter()
        self._shards = self._samples = self._file = 0
        self._files: list[Path] = []
        self._keys: dict[str, tuple[int, int]] = {}
        self._first: tuple[_Sample, str] | None = None
        self._schemas: dict[str, JsonSchema] = {}
        self._findings: list[LintFinding] = []
        self._of_rule: Counter[str] = Counter()

    def run(self, shards: Shards) -> Iterator[LintFinding]:
        """Findings in order; never raises for the content of files."""
        check_names(shards, lambda path, rule, what, fix: self._add(path, rule, 0, what, fix))
        self._of_rule.clear()
        yield from self._take()
        for path in shards.tars:
            self._files.append(path)
            self._file = len(self._files) - 1
            self._shards += 1
            yield from self._shard(path)
            self._more(path)
            yield from self._take()
        self._sizes(shards)
        yield from self._take()

    def summary(self) -> dict[str, int]:
        """Counts of ``lint --json``; errors that were not listed one by one are counted too."""
        return {
            "shards": self._shards, "samples": self._samples, "errors": self._counts[ERROR], "notes": self._counts[NOTE],
        }  # fmt: skip

    def _add(self, path: Path, rule: str, offset: int, what: str, fix: str) -> None:
        severity = NOTE if rule in NOTES else ERROR
        self._counts[severity] += 1
        self._of_rule[rule] += 1
        if self._of_rule[rule] <= MAX_LISTED_PER_RULE or path not in self._files:
            self._findings.append(LintFinding(severity, _printable(str(path)), offset, rule, _printable(what), fix))

    def _more(self, path: Path) -> None:
        for rule, count in self._of_rule.items():
            if count > MAX_LISTED_PER_RULE:
                severity = NOTE if rule in NOTES else ERROR
                what = f"{count - MAX_LISTED_PER_RULE} more of this rule in this file"
                self._findings.append(LintFinding(severity, _printable(str(path)), 0, rule, what, "as above"))
        self._of_rule.clear()

    def _take(self) -> list[LintFinding]:
        findings, self._findings = self._findings, []
        return findings

    def _shard(self, path: Path) -> Iterator[LintFinding]:
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                yield from self._members(path, file, size)
        except OSError as error:
            self._add(
                path, "readable", 0, f"cannot be read: {error.strerror or error}", "check the disk, or copy it again"
            )

    def _members(self, path: Path, file: BinaryIO, size: int) -> Iterator[LintFinding]:
        sample, here, seen_bytes = None, {}, 0  # type: _Sample | None, dict[str, set[str]], int

        def report(rule: str, offset: int, what: str, fix: str) -> None:
            self._add(path, rule, offset, what, fix)

        if size == 0:
            report("plain-tar", 0, "an empty file", "the writer did not finish: remove it, or build it again")
            return
        broken_before = self._counts[ERROR]
        for member in walk_members(file, size, report):
            self._progress(member.start + member.size - seen_bytes)
            seen_bytes = member.start + member.size
            key, extension = _split(member.name)
            self._check_name(path, member, key, extension)
            if sample is None or sample.key != key:
                self._finish(path, sample, here)
                sample = _Sample(key, member.offset, [])
            sample.parts.append(extension)
            self._check_bytes(path, file, member, extension)
            yield from self._take()
        self._finish(path, sample, here)
        if sample is None and self._counts[ERROR] == broken_before:
            report("empty-shard", 0, "no samples", "remove it: an empty shard stalls readers that count on each")
        self._progress(size - seen_bytes)

    def _check_name(self, path: Path, member: Member, key: str, extension: str) -> None:
        fix = f"name members [a-z0-9_-]+.ext, one dot, at most {MAX_NAME} characters"
        problem = ""
        if len(member.name) > MAX_NAME:
            problem = f"{len(member.name)} characters, at most {MAX_NAME}"
        elif not extension or "." in extension:
            problem = "no extension" if not extension else "more than one dot: readers split at the first"
        elif not EXTENSION.match(extension):
            problem = "the extension is not lower-case letters and digits"
        elif not KEY.match(key):
            problem = "the key is not of [a-z0-9_-]"
        if problem:
            self._add(path, "member-name", member.offset, f"{member.name[:200]!r}: {problem}", fix)

    def _check_bytes(self, path: Path, file: BinaryIO, member: Member, extension: str) -> None:
        def report(rule: str, what: str, fix: str) -> None:
            self._add(path, rule, member.offset, f"{member.name[:200]!r}: {what}", fix)

        if member.size > MAX_CHECKED_BYTES:
            report("huge-member", f"{member.size} bytes: not checked", "keep samples small")
            return
        try:
            data = read_member(file, member, member.size)
        except OSError as error:
            report("readable", f"cannot be read: {error.strerror or error}", "check the disk, or copy the shard again")
            return
        if extension.lower() == "json" or extension.lower().endswith(".json"):
            schema = self._schemas.setdefault(extension.lower(), JsonSchema())
            schema.check(data, f"{member.name[:200]!r} of {path.name}", report)
        else:
            check_content(extension, data, report, provenance=self._provenance)

    def _finish(self, path: Path, sample: _Sample | None, here: dict[str, set[str]]) -> None:
        """Check a complete sample: its parts against the first sample's, its key against all keys."""
        if sample is None:
            return
        self._samples += 1
        parts = set(sample.parts)
        if len(parts) != len(sample.parts):
            twice = sorted(part for part, count in Counter(sample.parts).items() if count > 1)
            what = f"sample {sample.key!r} has {', '.join(twice)} twice"
            self._add(
                path,
                "same-parts",
                sample.offset,
                what,
                "webdataset stops there with a ValueError, others keep one of them: leave one out",
            )
        self._check_key(path, sample, parts, here)
        if self._first is None:
            self._first = (sample, path.name)
            return
        first, place = self._first
        if len(sample.key) != len(first.key):
            what = f"key {sample.key!r} has {len(sample.key)} characters, the first {len(first.key)}"
            self._add(path, "key-width", sample.offset, what, "pad keys to one width")
        if parts != set(first.parts):
            what = f"sample {sample.key!r} has {_words(sample.parts)}; the first ({first.key!r} of {place}) {_words(first.parts)}"
            self._add(
                path, "same-parts", sample.offset, what, "give every sample the same parts, with empty ones if need be"
            )
        elif list(dict.fromkeys(sample.parts)) != list(dict.fromkeys(first.parts)):
            what = f"sample {sample.key!r} has the order {_words(sample.parts)}; the first {_words(first.parts)}"
            self._add(path, "member-order", sample.offset, what, "write the members of each sample in one order")

    def _check_key(self, path: Path, sample: _Sample, parts: set[str], here: dict[str, set[str]]) -> None:
        before = self._keys.get(sample.key)
        if before is None:
            self._keys[sample.key] = (self._file, sample.offset)
        else:
            number, offset = before
            place = f"{self._files[number]} @{offset}"
            if sample.key in here and not here[sample.key] & parts:
                what = f"members of {sample.key!r} are apart: others are at {place}"
                self._add(path, "adjacent", sample.offset, what, "write the members of a sample one after another")
            else:
                what = f"key {sample.key!r} is also at {place}"
                self._add(
                    path, "unique-keys", sample.offset, what, "give each sample a key of its own in the whole dataset"
                )
        here.setdefault(sample.key, set()).update(parts)

    def _sizes(self, shards: Shards) -> None:
        if self._samples < MANY_SAMPLES:
            return
        sizes = {path: path.stat().st_size for path in shards.tars if path.exists()}
        odd = [path for path, size in sizes.items() if not SMALL <= size <= LARGE]
        if odd:
            what = f"{len(odd)} of {len(sizes)} shards are outside 100 MB to 1 GB (this one has {sizes[odd[0]] / 1e6:.1f} MB)"
            self._add(odd[0], "shard-size", 0, what, "choose the number of shards so that each has 100 MB to 1 GB")


def _split(name: str) -> tuple[str, str]:
    """Key and extension as webdataset reads them: at the first dot of the last part of the path."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension


def _words(parts: list[str]) -> str:
    return ", ".join(part or "(no extension)" for part in parts[:12])


def _printable(text: str) -> str:
    """Text on one line with unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
