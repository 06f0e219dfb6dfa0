"""Hooks of mkdocs. Pages link to files of the checkout: the site has the Markdown ones, of others it shows the path alone."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "project"  # folder of the site with pages from outside of docs/
OTHERS = [
    "BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md",
    *(f"assets/models/{name}/README.md" for name in ("cropper", "faces", "lite0", "patch-diffusion", "scorer", "u2netp")),
]  # fmt: skip
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def place_of(source: str) -> str:
    """Where a Markdown file of the checkout stands in the site: ``project/models/cropper.md``."""
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    parts = source.removeprefix("assets/").split("/")
    return posixpath.join(PROJECT, *parts[:-1]) + ".md" if parts[-1] == "README.md" else posixpath.join(PROJECT, source)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside of docs/ and their pictures."""
    for source in OTHERS:
        files.append(File.generated(config, place_of(source), content=(ROOT / source).read_text(encoding="utf-8")))
    for picture in (ROOT / "assets" / "models").glob("*/*.jpg"):
        place = f"{PROJECT}/models/{picture.parent.name}-{picture.name}"
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page, made those of the site."""
    place = page.file.src_uri
    source = next((one for one in OTHERS if place_of(one) == place), f"docs/{place}")
    return _LINK.sub(lambda found: site_link(found, source, place), markdown)


def site_link(found: "re.Match[str]", source: str, place: str) -> str:
    """One link. source: of the page in the checkout; place: in the site."""
    picture, text, target, anchor = found.group(1), found.group(2), found.group(3), found.group(4) or ""
    if "://" in target or target.startswith("mailto:"):
        return found.group(0)
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    home = posixpath.dirname(place) or "."
    if picture and file.startswith("assets/models/"):
        _, _, model, name = file.split("/")
        return f"![{text}]({posixpath.relpath(f'{PROJECT}/models/{model}-{name}', home)})"
    if file.startswith("docs/") or file in OTHERS:
        return f"{picture}[{text}]({posixpath.relpath(place_of(file), home)}{anchor})"
    return f"`{file}`" if text.strip("`") == file else f"{text} (`{file}`)"
