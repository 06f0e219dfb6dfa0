"""Files that models of a recipe need: which, whether they are here, and the line that downloads each."""

import pytest

from pipeline.app.recipe_for_run import recipe_for
from pipeline.planning.recipe_files import recipe_names
from stages.backends.needed_files import download_script, needed_files, problem_of, total_gb


def needed(*overrides, config="demo"):
    return {one.setting: one for one in needed_files(recipe_for(config, overrides).models)}


@pytest.mark.parametrize("name", recipe_names())
def test_each_download_of_each_recipe_has_a_command_and_a_size(name):
    files = needed(config=name)
    unknown = {"Tongyi-MAI/Z-Image-Turbo"}  # its size is not known here, so none is stated
    assert all((one.size_gb > 0) != (one.model in unknown) and not one.is_here for one in files.values())
    assert all(one.command().startswith(("hf download ", "curl ")) for one in files.values())
    if name in ("default", "demo", "bundled"):
        assert files == {} and "needs nothing" in download_script(name, [])


def test_a_checkpoint_of_two_models_is_named_once():
    files = needed("models.encoder=clip", config="sdxl")
    assert [one.model for one in files.values()].count("openai/clip-vit-large-patch14") == 1
    assert total_gb(list(files.values())) == pytest.approx(11.404)
    assert "*.fp16.safetensors" in files["models.outpainter.model"].command()
    assert "models.outpainter.safety_model" not in needed("models.outpainter.safety=false", config="sdxl")


def test_members_of_an_ensemble_are_asked():
    files = needed("models.scorer={kind: ensemble, members: [{kind: laion}, {kind: nima}]}")
    assert set(files) == {
        "models.scorer.members.0.model",
        "models.scorer.members.0.head",
        "models.scorer.members.1.head",
    }


def test_files_are_known_from_folders(tmp_path):
    file, folder = tmp_path / "x.safetensors", tmp_path / "head.pth"
    file.write_bytes(b"x")
    folder.mkdir()
    assert problem_of(str(file)) == problem_of(str(tmp_path), folder=True) == ""
    assert problem_of(str(folder)) == "it is a folder, want a file"
    assert "want a folder" in problem_of(str(file), folder=True)
    wrong = needed(f"models.scorer={{kind: laion, head: {folder}, model: {file}}}")
    assert not any(one.is_here for one in wrong.values())
    unknown = needed("models.scorer={kind: laion, head: mine.pth}")["models.scorer.head"]
    assert (
        unknown.command().startswith("# put models.scorer.head at mine.pth")
        and unknown.problem == "not on this machine"
    )
