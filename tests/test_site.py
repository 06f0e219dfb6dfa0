"""The site: its reference is that of the code, every page is in it, and it builds offline without a warning."""

import re
import subprocess
import sys

import pytest
import yaml

from docs.reference_pages import FOLDER, pages, table
from docs.site_hooks import OTHERS, place_of, site_link
from tests.doc_pages import ROOT


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_that_of_the_code(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run make docs"


def test_the_reference_has_no_other_page():
    assert {path.name for path in FOLDER.iterdir()} == set(pages())


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r": ([\w/-]+\.md)$", config, re.M))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == written | set(map(place_of, OTHERS))
    assert yaml.safe_load(config)["theme"]["font"] is False  # which another server would have


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', index)
    assert loaded == [] and (tmp_path / "site" / "story.png").is_file()


@pytest.mark.parametrize(
    ("link", "source", "shown"),
    [
        ("[a](scale.md#x)", "docs/models.md", "[a](scale.md#x)"),
        ("[a](../BENCHMARKS.md#b)", "docs/models.md", "[a](project/BENCHMARKS.md#b)"),
        ("[a](docs/models.md)", "CONTRIBUTING.md", "[a](../models.md)"),
        ("[a](../assets/models/faces/README.md)", "docs/models.md", "[a](project/models/faces.md)"),
        ("[a](../stages/ingest.py)", "docs/models.md", "a (`stages/ingest.py`)"),
        ("[stages/ingest.py](../stages/ingest.py)", "docs/stages.md", "`stages/ingest.py`"),
        ("[a](https://x.y/z)", "docs/models.md", "[a](https://x.y/z)"),
        ("![a](failures.jpg)", "assets/models/scorer/README.md", "![a](scorer-failures.jpg)"),
    ],
)
def test_links_become_those_of_the_site(link, source, shown):
    found = re.match(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)", link)
    assert site_link(found, source, place_of(source)) == shown


def test_a_table_keeps_code_and_escapes_the_rest():
    assert table(("a", "b"), [("`x|<y>`", "1 < 2\n``z``")]).splitlines()[2] == "| `x\\|<y>` | 1 &lt; 2 `z` |"
