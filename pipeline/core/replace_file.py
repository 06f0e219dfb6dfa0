"""A file replaced in one step, written under a name that no other writer has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes that name when the block ends well, else it is removed.

    Readers see the old file or the new one. Two writers never share a name: host names and process ids may be equal in two
    containers on one disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.partial.{uuid4().hex}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
