"""``convert``: a public set as final shards, or a public set or dataset of ours as CAD's text files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.progress_bar import progress_bar
from pipeline.core.errors import UsageError
from pipeline.core.json_types import JsonObject

if TYPE_CHECKING:
    from pipeline.app.public_sets.to_shards import WrittenShards
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format


@dataclass(frozen=True)
class ConversionRequest:
    """What is converted, and to what.

    Args:
        out: folder for the result; it must be empty or missing.
        dataset: name of a public set; empty if ``source`` is given.
        root: folder of the public set, as published.
        source: run directory or dataset of ours, for ``to="cad"``.
        to: ``shards`` (our final shards) or ``cad`` (text files beside pictures).
        shards: number of shards over all splits; 0: about 256 MB each.
        split: only this split; empty: all.
    """

    out: str
    dataset: str = ""
    root: str = ""
    source: str = ""
    to: str = "shards"
    shards: int = 0
    split: str = ""

    def require_consistent(self) -> None:
        """Raise UsageError for options that exclude or need one another, and for a folder that is not empty."""
        if self.to not in ("shards", "cad"):
            raise UsageError(f"--to '{self.to}': want shards or cad")
        if bool(self.dataset) != bool(self.root) or bool(self.dataset) == bool(self.source):
            raise UsageError(
                "name what to convert: --dataset and --root of a public set, or --from a run or dataset of ours"
            )
        if self.source and self.to != "cad":
            raise UsageError("--from has final shards already: it goes with --to cad")
        place = Path(self.out)
        if place.exists() and any(place.iterdir()):
            raise UsageError(
                f"--out '{self.out}' is not empty: name a new folder or delete this one, so that nothing of another conversion "
                "is mixed in"
            )


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion wrote.

    Args:
        request: what was converted.
        splits: pictures by split.
        remarks: one line for each remark about the source.
        written: counts of the final shards; None for CAD's text files.
    """

    request: ConversionRequest
    splits: Mapping[str, int]
    remarks: Sequence[str] = ()
    written: "WrittenShards | None" = None

    def as_json(self) -> JsonObject:
        """The object of ``convert --json``."""
        shards = asdict(self.written) if self.written else {}
        return {
            "out": self.request.out, "to": self.request.to, "remarks": self.remarks, "splits": self.splits, **shards
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """One line for each kind of picture that the user should know about."""
        if self.written is None:
            return []
        counts = {
            "pictures were no JPEG and were encoded once": self.written.reencoded,
            "pictures are in more than one split of the set": self.written.across_splits,
        }
        return [f"{count} {words}" for words, count in counts.items() if count]


def convert_set(request: ConversionRequest, *, quiet: bool = False) -> ConversionReport:
    """Convert a public set or a dataset. Raises UsageError, also for a set without usable pictures."""
    from pipeline.app.public_sets.cad_writer import dataset_of, write_dataset, write_set
    from pipeline.app.public_sets.to_shards import write_shards

    request.require_consistent()
    out = Path(request.out)
    if request.source:
        return ConversionReport(request, write_dataset(dataset_of(Path(request.source)), out, request.split))
    form, labelled = _read(request)
    if request.to == "cad":
        write_set(form, labelled, out)
        return ConversionReport(request, labelled.splits(), labelled.remarks())
    with progress_bar("convert", quiet) as progress:
        written = write_shards(form, labelled, out, request.shards, progress)
    return ConversionReport(request, labelled.splits(), labelled.remarks(), written)


def _read(request: ConversionRequest) -> "tuple[Format, LabelledSet]":
    from procrop_model.datasets.registry import PAIRS, dataset_format

    form = dataset_format(request.dataset)
    if form.protocol == PAIRS:
        raise UsageError(f"{form.name} has compared pairs and no crops: there is nothing to make shards of; use fcdb")
    labelled = form.read(request.root, request.split)
    if not labelled.images:
        raise UsageError(f"'{form.name}' has no usable picture: {'; '.join(labelled.remarks())}")
    return form, labelled
