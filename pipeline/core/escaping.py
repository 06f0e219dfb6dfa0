"""Text from files, written where it could be taken for something else: one function for each place that it goes to."""

import json
import unicodedata
from html import escape
from xml.sax.saxutils import quoteattr

# Marks that change the direction of what follows, in which a name can pretend to be another one.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKDOWN = {ord(mark): f"\\{mark}" for mark in "\\`*[]|~$"} | {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _is_unseen(mark: str) -> bool:
    """Whether a character controls a terminal or a parser: control characters, separators of lines, halves of surrogate pairs,
    turns of direction, and what is no character at all.
    """
    return unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp") or mark in _TURNS or ord(mark) & 0xFFFE == 0xFFFE


def one_line(text: str) -> str:
    """The text in one line, with single blanks, without characters that control a terminal or a parser."""
    return " ".join("".join(" " if _is_unseen(mark) else mark for mark in text).split())


def printable(text: object) -> str:
    """The text as a terminal can show it in one line: characters that would control it are escaped as ``\\x1b``."""
    return "".join(_escaped(mark) if _is_unseen(mark) else mark for mark in str(text))


def _escaped(mark: str) -> str:
    if 0xDC80 <= ord(mark) <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{ord(mark) - 0xDC00:02x}"
    return mark.encode("unicode_escape", "surrogatepass").decode("ascii")


def yaml_text(text: str) -> str:
    """A YAML scalar, in quotes: nothing in it is a key, a comment or another line."""
    return json.dumps(one_line(text), ensure_ascii=False)


def markdown_text(text: str) -> str:
    """Text of a Markdown page or table cell: no markup, no HTML, no further column."""
    return one_line(text).translate(_MARKDOWN)


def html_text(text: str) -> str:
    """Text or attribute of an HTML page."""
    return escape(printable(text))


def xml_attribute(text: str) -> str:
    """An attribute of XML, with its quotes."""
    return quoteattr(one_line(text))


def csv_cell(value: object) -> object:
    """A cell of a table that spreadsheets open: text that would be a formula gets an apostrophe before it; numbers stay."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) or value.startswith(_FORMULA) else text
