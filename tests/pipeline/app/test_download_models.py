"""Downloads: repositories through the hub's client, single files from their address, errors in one line."""

from dataclasses import replace

import pytest

from pipeline.app.download_models import download_all, download_file
from pipeline.core.errors import ModelError
from stages.backends.needed_files import NeededFile

HUB = NeededFile("models.encoder.model", "owner/name", False, variant="fp16", revision="main")


def test_repositories_and_single_files_are_asked_of_the_hub(tmp_path):
    asked = []
    lora = NeededFile("models.outpainter.lora", str(tmp_path / "sdxl_lightning_4step_lora.safetensors"), False)
    got = list(download_all([HUB, lora], snapshot=lambda name, **options: asked.append((name, options))))
    assert got == [HUB, lora]
    (name, options), (other, single) = asked
    assert name == "owner/name" and options["revision"] == "main" and "*.fp16.safetensors" in options["allow_patterns"]
    assert other == "ByteDance/SDXL-Lightning" and single["local_dir"] == str(tmp_path)


def test_a_file_is_moved_to_its_place_when_it_is_whole(tmp_path):
    (tmp_path / "there").write_bytes(b"weights")
    download_file((tmp_path / "there").as_uri(), tmp_path / "new" / "head.pth")
    assert (tmp_path / "new" / "head.pth").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["head.pth"]
    with pytest.raises(ModelError, match="starts with https"):
        download_file("ftp://x/y", tmp_path / "y")


def test_a_failed_download_says_what_to_do():
    def refuse(*_words, **_options):
        error = OSError("401 Client Error: a page of text")
        error.response = type("Response", (), {"status_code": 401})()
        raise error

    with pytest.raises(ModelError, match=r"'hf auth login'.*by hand: hf download owner/name --revision main") as caught:
        list(download_all([HUB], snapshot=refuse))
    assert "Client Error" not in str(caught.value)
    with pytest.raises(ModelError, match=r"nothing published has the name 'mine\.pth'"):
        list(download_all([replace(HUB, model="mine.pth")], snapshot=refuse))
