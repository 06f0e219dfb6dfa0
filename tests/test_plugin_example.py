"""The package in examples/plugin is installed beside ours and runs through the whole chain, with no change of our tree."""

import json
import os

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.app.machine_checks import check_plugins
from pipeline.app.progress import Display
from pipeline.app.recipe_for_run import recipe_for as recipe_named
from pipeline.app.session import open_session
from pipeline.cli.app import app
from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import UsageError
from pipeline.engine.runner import Options, run_stages
from pipeline.runs.receipts import difference
from pipeline.runs.run_directory import recipe_of
from pipeline.runs.status import rejected_samples
from stages.backends.base.plugin_code import PluginCode
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.plugin_site import EXAMPLE, ROOT, forget_example, install_example

BLURRED = "flat.jpg"
PLUGINS = {
    "models": {"scorer": {"kind": "thirds", "loss": 15}},
    "stages": [{"kind": "sharpness", "before": "outpaint", "least": 0.4}],
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The example installed, and imported from there."""
    folder = install_example(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    forget_example()
    yield folder
    forget_example()


@pytest.fixture
def photos(tmp_path):
    folder = make_photos(tmp_path / "photos", 3)
    Image.new("RGB", (320, 240), "gray").save(folder / BLURRED)
    return folder


def session_of(photos, work, **over):
    recipe = recipe_for(photos, **{**PLUGINS, **over})
    return session_for(recipe, work, scorer=recipe.models.scorer.build())


def test_the_example_runs_through_the_chain_and_is_named(site, photos, tmp_path):
    session = session_of(photos, tmp_path / "work")
    assert [stage.name for stage in session.stages][:3] == ["ingest", "sharpness", "perceive/photos"]
    run_chain(session)
    assert len(kept_rows(session, "sharpness")) == 3 and len(kept_rows(session, "caption")) == 4
    (dropped,) = rejected_samples(session.run, [stage for stage in session.stages if stage.name == "sharpness"])
    assert dropped["reason"] == "blurred"
    canvases = {row["photo"] for row in kept_rows(session, "outpaint")}
    assert canvases == {row["key"] for row in kept_rows(session, "sharpness")}
    refined, sharp = session.run.receipt("refine/round-01", 0), session.run.receipt("sharpness", 0)
    assert refined.recipe["models"]["scorer"].startswith("procrop-thirds-0.1.0-")
    assert sharp.recipe["models"]["plug-in"].startswith("procrop-thirds-0.1.0-")
    card = (tmp_path / "work" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "| scorer | thirds (plug-in procrop-thirds-0.1.0) | MIT" in card
    assert "| stage sharpness | plug-in procrop-thirds-0.1.0 | not stated |" in card
    again = session_of(photos, tmp_path / "work")
    assert {result.done_now for result in run_chain(again)} == {0}


def test_a_change_of_its_code_is_another_recipe(site, photos, tmp_path):
    before = {stage.name: recipe_of(stage) for stage in session_of(photos, tmp_path / "before").stages}
    source = site / "procrop_thirds.py"
    source.write_text(source.read_text(encoding="utf-8").replace("- 2 / 3", "- 3 / 5"), encoding="utf-8")
    forget_example()
    after = {stage.name: recipe_of(stage) for stage in session_of(photos, tmp_path / "after").stages}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"sharpness", "refine/round-01", "refine/round-02", "build"}
    (line, *_) = difference(before["sharpness"]["models"], after["sharpness"]["models"])
    assert "plug-in" in line and "procrop-thirds-0.1.0" in line


def test_the_commands_name_it(site, photos, tmp_path):
    rows = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    (row,) = [row for row in rows if row["kind"] == "thirds"]
    assert (row["role"], row["is_here"], row["licence"]) == ("scorer", True, "MIT (no weights)")
    assert row["model"] == "plug-in procrop-thirds 0.1.0 (procrop_thirds:Thirds)"
    recipe = recipe_named("demo", ["models.scorer=thirds", "stages=[{kind: sharpness}]"])
    assert [check.found.split(", digest")[0] for check in check_plugins(recipe.plugins)] == [
        "models.scorer: procrop-thirds 0.1.0, procrop_thirds:Thirds",
        "stages.0: procrop-thirds 0.1.0, procrop_thirds:Sharpness",
    ]
    shown = CliRunner().invoke(app, ["config", "show", "models.scorer=thirds", "models.scorer"])
    assert "models.scorer.loss = 20.0" in shown.output and "points for a distance of half the crop" in shown.output


def test_a_bad_plugin_starts_no_run(site, tmp_path):
    for override in ("models.scorer=nowhere:Thirds", "stages=[{kind: 'procrop_thirds:Thirds'}]", "stages=[shaprness]"):
        with pytest.raises(UsageError) as caught:
            open_session("demo", str(tmp_path / "work"), [override])
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_the_example_is_short():
    code = [line for line in (EXAMPLE / "procrop_thirds.py").read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(code) <= 55
    assert PluginCode("procrop_thirds:Thirds").module == "procrop_thirds"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_the_example_on_ray_gives_the_same_bytes(site, photos, tmp_path, monkeypatch):
    """Its stage and its scorer are done by actors; what lies between is done here, because each stage starts an actor."""
    ray = pytest.importorskip("ray")
    from pipeline.engine.executors.ray.cluster import connect_ray

    local, on_ray = (session_of(photos, tmp_path / name, work_shards=1) for name in ("local", "ray"))
    run_chain(local, until="refine")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    connect_ray("", 1)
    try:
        run_chain(on_ray, until="ingest")
        do_on_ray(on_ray, "sharpness")
        run_chain(on_ray, until="propose")
        do_on_ray(on_ray, "refine/round-01")
    finally:
        ray.shutdown()
    for stage in ("sharpness", "outpaint", "refine/round-01"):
        assert on_ray.run.receipt(stage, 0).outputs == local.run.receipt(stage, 0).outputs


def do_on_ray(session, name):
    from pipeline.engine.executors.ray.executor import RayExecutor

    stages = [stage for stage in session.stages if stage.name == name]
    with RayExecutor(session.run, stages, resources={name: ActorResources()}, on_event=lambda event: None) as executor:
        run_stages(stages, session.run, executor, watcher=Display(quiet=True), chain=session.stages, options=Options())
