"""What a list or ``credits.csv`` says of a photograph. Such values are data: each is checked here, where it enters."""

import csv
import io
from collections.abc import Mapping

from pipeline.core.errors import UsageError
from pipeline.core.escaping import one_line

SPLITS = ("train", "val", "test")
CREDIT_FIELDS = ("title", "author", "licence", "licence_url", "source", "split")
CREDITS_FILE = "credits.csv"
NO_CREDITS: dict[str, str] = {}
MAX_LENGTH = 2000  # characters of one value; longer ones are cut


def checked_credits(row: Mapping[str, object], where: str) -> dict[str, str]:
    """The credits of one row, as single lines of text. where: names the row in errors.

    Raises UsageError for a split that is none of ``SPLITS``.
    """
    credits = {name: _line(row.get(name)) for name in CREDIT_FIELDS}
    if credits["split"] and credits["split"] not in SPLITS:
        raise UsageError(
            f"{where}: split {credits['split']!r}: allowed are {', '.join(SPLITS)}, or nothing for a share by hash"
        )
    return credits


def _line(value: object) -> str:
    """A value as one line without control characters; nothing for a missing one."""
    if value is None or isinstance(value, list):  # a list: cells beyond the header's columns
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return one_line(text[:MAX_LENGTH])


def parse_credits(data: bytes, where: str) -> dict[str, dict[str, str]]:
    """Credits by file of a ``credits.csv``. Raises UsageError for one that is no such table. where: its path or URL."""
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except UnicodeDecodeError as error:
        raise UsageError(f"'{where}' is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except csv.Error as error:
        raise UsageError(f"'{where}' is no valid CSV ({error})") from error
    columns = [str(name) for name in reader.fieldnames or ()]
    if rows and "file" not in columns:
        raise UsageError(f"'{where}' needs a column 'file'; it has {', '.join(columns)}")
    return {
        str(row["file"]): checked_credits(row, f"'{where}', row {number}")
        for number, row in enumerate(rows, 2) if row["file"]
    }  # fmt: skip
