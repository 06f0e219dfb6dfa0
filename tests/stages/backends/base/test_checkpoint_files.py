import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import files_of, loading, locate, read_config, weights_digest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def written(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names_of(folder, variant=""):
    return [path.relative_to(folder).as_posix() for path in files_of(folder, variant)]


def test_a_path_is_found_and_a_missing_model_says_how_to_get_it(tmp_path):
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="hf download nobody/nothing --revision v2"):
        locate("nobody/nothing", "v2")
    with pytest.raises(ModelError, match="no model at"):
        locate(str(tmp_path / "nowhere"))


def test_safetensors_are_preferred_to_pickles(tmp_path):
    folder = written(tmp_path / "m", "config.json", "model.bin", "model.safetensors", "readme.md", ".hidden.json")
    assert names_of(folder) == ["config.json", "model.safetensors"]
    assert names_of(written(tmp_path / "p", "config.json", "model.bin")) == ["config.json", "model.bin"]


def test_a_variant_is_chosen_where_a_folder_has_it(tmp_path):
    folder = written(tmp_path / "m", "unet/model.safetensors", "unet/model.fp16.safetensors", "vae/model.safetensors")
    assert names_of(folder) == ["unet/model.safetensors", "vae/model.safetensors"]
    assert names_of(folder, "fp16") == ["unet/model.fp16.safetensors", "vae/model.safetensors"]


def test_weights_beside_a_pipelines_index_do_not_count(tmp_path):
    folder = written(tmp_path / "m", "model_index.json", "all.safetensors", "unet/model.safetensors")
    assert names_of(folder) == ["model_index.json", "unet/model.safetensors"]


def test_the_digest_follows_names_and_contents(tmp_path):
    folder = written(tmp_path / "m", "config.json", "model.safetensors")
    first = weights_digest(folder)
    assert first == weights_digest(written(tmp_path / "copy", "config.json", "model.safetensors")) and len(first) == 16
    (folder / "readme.md").write_text("not loaded")
    assert weights_digest(folder) == first
    (folder / "model.safetensors").write_text("other content")
    assert weights_digest(folder) != first


def test_an_unwritable_cache_does_not_change_the_digest(tmp_path, monkeypatch):
    folder = written(tmp_path / "m", "model.safetensors")
    first = weights_digest(folder)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert weights_digest(folder) == first


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[1]", "must hold a JSON object")])
def test_a_bad_configuration_is_a_model_error(tmp_path, text, said):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=said):
        read_config(tmp_path, "config.json")


def test_a_missing_configuration_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        read_config(tmp_path, "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert read_config(tmp_path, "config.json") == {"a": 1}


def test_errors_of_libraries_become_one_model_error(tmp_path):
    save_file({"a": torch.zeros(4)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:20])
    with pytest.raises(ModelError, match="the weights does not load"), loading("the weights"):
        load_file(tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match="the weights does not load: no such layer"), loading("the weights"):
        raise RuntimeError("no such layer")


def test_too_little_memory_is_not_the_checkpoints_fault():
    with pytest.raises(torch.OutOfMemoryError), loading("the weights"):
        raise torch.OutOfMemoryError
