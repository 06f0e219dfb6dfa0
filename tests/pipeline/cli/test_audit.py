"""``audit seam`` on a whole run of stand-in models: figures, the report's section, and clear refusals."""

import json
import sys
from dataclasses import fields

import numpy as np
import pytest

from pipeline.app.audit_canvases import parse_treatment
from pipeline.cli.app import main
from pipeline.core.errors import DamagedDataError, MissingUpstreamError, UsageError
from pipeline.report import write_report
from stages.audits.paint import Frames, calibrate_paint_checks
from stages.audits.seam.run import AuditSettings, audit
from stages.audits.subject import calibrate_own_subject
from stages.canvases.paint_checks import PaintMeasures
from stages.canvases.seam_treatment import UNTREATED
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeSegmenter

NOISY = UNTREATED.model_copy(update={"noise": 32.0})
QUICK = AuditSettings(folds=3, draws=50, most=8, network=False)


def silent(line):
    pass


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    made = session_for(
        recipe_for(make_photos(folder / "photos", 8), outpaint={"seam": {"match": 0, "noise": 0}}), folder / "work"
    )
    run_chain(made, until="outpaint")
    return made


@pytest.fixture(scope="module")
def found(session):
    return audit(session.run.tables(), QUICK, [NOISY], silent)


def test_noisy_paint_is_found_and_grain_on_both_sides_hides_it(found):
    plain, grainy = found["rows"]
    assert plain["auc"][0] > 0.95 > grainy["auc"][0]
    assert (plain["treatment"], grainy["treatment"]) == ("", "feather 0, noise 32.0")
    assert plain["kept_psnr"] > 35 > 20 > grainy["kept_psnr"]
    assert plain["outpainter"] == "fake-outpainter@paint0001"
    assert plain["seam"] == "feather 2"


def test_an_invisible_blur_fails_the_audits_control(found):
    assert not found["holds"]
    assert found["controls"]["random"]["auc"][1] < 0.6


def test_the_same_run_gives_the_same_figures(session, found):
    assert audit(session.run.tables(), QUICK, [NOISY], silent) == found
    json.dumps(found)


def test_the_report_shows_the_table_and_the_maps(session, found, tmp_path):
    def page():
        write_report(session.run, session.stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
        return (tmp_path / "index.html").read_text(), json.loads((tmp_path / "data.json").read_text())["sections"][
            "seam"
        ]

    html, data = page()
    assert "audit seam" in data["command"]
    session.run.store.write("report/seam.json", json.dumps(found).encode())
    html, data = page()
    assert data["rows"] == found["rows"]
    assert html.count('fill="#e0301e"') == sum(len(one["cells"]) for one in found["heat"])
    assert "The controls failed" in html


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (AuditSettings(folds=5), "8 photographs are too few for 5 folds of at least two"),
        (AuditSettings(folds=2, side=80), "less than a patch of 80"),
        (AuditSettings(folds=2, side=20), "multiple of 8"),
        (AuditSettings(folds=2, side=48), "too few canvases have 48 px patches"),
    ],
)
def test_what_cannot_be_audited_is_said_in_one_line(session, settings, said):
    with pytest.raises(UsageError, match=said):
        audit(session.run.tables(), settings, [], silent)


def test_a_run_without_canvases_names_the_command_for_them(tmp_path):
    empty = session_for(recipe_for(make_photos(tmp_path / "photos", 2)), tmp_path / "work")
    with pytest.raises(MissingUpstreamError, match="procrop-data outpaint"):
        audit(empty.run.tables(), QUICK, [], silent)


def test_limits_are_calibrated_on_unpainted_surroundings(session, tmp_path):
    checks = session.recipe.outpaint.checks
    found = calibrate_paint_checks(session.run.tables(), checks, Frames(0.1, 400, 0))
    assert found == calibrate_paint_checks(session.run.tables(), checks, Frames(0.1, 400, 0))
    assert set(found["measures"]) == {field.name for field in fields(PaintMeasures)}
    for one in found["measures"].values():
        assert min(one["unpainted"]) - 1e-3 <= one["calibrated"] <= max(one["unpainted"]) + 1e-3
        assert one["beyond"] <= found["canvases"]
        assert len(one["worst"]) == min(one["beyond"], 5)
    strict = calibrate_paint_checks(session.run.tables(), checks, Frames(0.5, 400, 0))["measures"]
    assert all(strict[name]["beyond"] >= one["beyond"] for name, one in found["measures"].items())
    session.run.store.write("report/paint.json", json.dumps(found).encode())
    write_report(session.run, session.stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    assert json.loads((tmp_path / "data.json").read_text())["sections"]["paint"] == found


class Everywhere(FakeSegmenter):
    """The subject is the whole picture."""

    def segment(self, images):
        return [np.ones(image.shape[:2], np.float32) for image in images]


def test_the_limit_for_invented_subjects_is_calibrated(session):
    tables, frames = session.run.tables(), Frames(0.1, 400, 0)
    found = calibrate_own_subject(tables, FakeSegmenter(), 0.5, frames)
    assert found == calibrate_own_subject(tables, FakeSegmenter(), 0.5, frames)
    assert found["calibrated"] == found["unpainted"][0] == 1  # the subject in the middle fits, and some frame holds it
    assert 0 < found["beyond"] < found["frames_that_fit"] == 20
    rows = {row["key"]: row for row in kept_rows(session, "outpaint")}
    x1, y1, x2, y2 = rows[found["worst"][0]]["photo_box"]
    size = rows[found["worst"][0]]["width"], rows[found["worst"][0]]["height"]
    assert x1 > 0.4 * size[0] or y1 > 0.4 * size[1] or x2 < 0.6 * size[0] or y2 < 0.6 * size[1]
    assert calibrate_own_subject(tables, Everywhere(), 0.5, frames) is None


@pytest.mark.parametrize("name", ["seam", "paint"])
def test_what_an_audit_left_damaged_is_said_with_the_command(session, tmp_path, name):
    session.run.store.write(f"report/{name}.json", b"{")
    with pytest.raises(DamagedDataError, match=f"audit {name}"):
        write_report(session.run, session.stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    session.run.store.remove(f"report/{name}.json")


def test_the_program_audits_and_refuses_in_one_line(session, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["procrop-data", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return stopped.value.code or 0, out.out, out.err

    work = session.run.store.url
    code, out, _ = call("seam", "--work", work, "--folds", 2, "--no-network", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["rows"][0]["canvases"] == told["canvases"] == 20
    assert "heat" not in told and session.run.store.exists("report/seam.json")
    code, out, _ = call("paint", "--work", work, "--canvases", 5)
    assert code == 0 and out.count("calibrated") == 6
    for arguments in (
        ("seam", "--work", work, "--treat", "noise=x"),
        ("seam", "--work", work),
        ("seam", "--work", tmp_path),
    ):
        code, out, err = call(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err


def test_a_treatment_is_read_from_words():
    assert parse_treatment("match=0.7 noise=6") == UNTREATED.model_copy(update={"match": 0.7, "noise": 6.0})
    for words, said in (("noise=loud", "noise"), ("sharpness=3", "sharpness"), ("scale=2", "outpaint.seam.scale=2")):
        with pytest.raises(UsageError, match=said):
            parse_treatment(words)


def test_canvases_painted_larger_are_stored_as_if_not(tmp_path):
    photos = make_photos(tmp_path / "photos", 2)
    rows = []
    for number, seam in enumerate(({}, {"scale": 1.5, "match": 0.5, "noise": 3, "jpeg_quality": 80})):
        recipe = recipe_for(photos, outpaint={"seam": seam})
        made = session_for(recipe, tmp_path / f"work{number}")
        run_chain(made, until="outpaint")
        rows.append(kept_rows(made, "outpaint"))
    for plain, larger in zip(*rows, strict=True):
        for name in ("key", "photo_box", "width", "height", "subject_box"):
            assert plain[name] == larger[name]
        assert larger["seam"] == "feather 2, scale 1.5, match 0.5, noise 3.0, jpeg_quality 80"
