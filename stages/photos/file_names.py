"""Names of files as text and back: a name that is not UTF-8 gets its odd bytes escaped as ``\\xNN``."""

import os
import re

from pipeline.core.pictures import PLUGINS, RAW

# Names of photographs. Those that cannot be read here become rows that say so (``why_unsupported``).
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif",
    *PLUGINS, *RAW,
)  # fmt: skip
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def text_of_name(name: str) -> str:
    """A file name, as the system gives it, as valid text. ``name_of_text`` gives the name back."""
    data = os.fsencode(name)
    return (
        data.replace(b"\\x", b"\\x5cx").decode("utf-8", "backslashreplace") if b"\\x" in data or _is_odd(data) else name
    )


def name_of_text(text: str) -> str:
    """The file name whose text ``text_of_name`` gave."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode())) if "\\x" in text else text


def _is_odd(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def is_picture_name(name: str) -> bool:
    """Whether a file is read as a photograph, by its name. What a Mac puts beside files (``._a.jpg``) is none."""
    return name.lower().endswith(EXTENSIONS) and not is_mac_companion(name)


def is_mac_companion(name: str) -> bool:
    """Whether a Mac made this file to hold attributes of another one: ``._a.jpg``, or anything under ``__MACOSX``."""
    parts = name.split("/")
    return parts[-1].startswith("._") or "__MACOSX" in parts[:-1]
