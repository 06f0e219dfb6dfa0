"""``audit seam`` on a whole run of stand-in models: figures, the report's section, and clear refusals."""

import json

import pytest

from pipeline.cli.auditing import treatment
from pipeline.errors import MissingUpstreamError, UsageError
from pipeline.report import write_report
from stages.seam import SeamSettings
from stages.seam_audit.audit import AuditSettings, audit
from tests.chain import make_photos, recipe_for, run_chain, session_for

QUICK = AuditSettings(folds=3, draws=50, most=8, network=False)


def silent(line):
    pass


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    made = session_for(recipe_for(make_photos(folder / "photos", 8)), folder / "work")
    run_chain(made, until="outpaint")
    return made


@pytest.fixture(scope="module")
def found(session):
    return audit(session.run.tables(), QUICK, [SeamSettings(feather_px=0, noise=32)], silent)


def test_noisy_paint_is_found_and_grain_on_both_sides_hides_it(found):
    plain, grainy = found["rows"]
    assert plain["auc"][0] > 0.95 > grainy["auc"][0]
    assert (plain["treatment"], grainy["treatment"]) == ("", "feather 0, noise 32.0")
    assert plain["kept_psnr"] > 35 > 20 > grainy["kept_psnr"]
    assert plain["outpainter"] == "fake-outpainter@paint0001"
    assert plain["seam"] == "feather 2"


def test_a_blur_of_smooth_pictures_is_invisible_and_the_audit_says_that_its_control_failed(found):
    assert not found["holds"]
    assert found["controls"]["random"]["auc"][1] < 0.6


def test_the_same_run_gives_the_same_figures(session, found):
    assert audit(session.run.tables(), QUICK, [SeamSettings(feather_px=0, noise=32)], silent) == found
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


def test_a_run_without_canvases_names_the_command_that_makes_them(tmp_path):
    empty = session_for(recipe_for(make_photos(tmp_path / "photos", 2)), tmp_path / "work")
    with pytest.raises(MissingUpstreamError, match="procrop-data outpaint"):
        audit(empty.run.tables(), QUICK, [], silent)


def test_a_treatment_is_read_from_words():
    assert treatment("match=0.7 noise=6") == SeamSettings(feather_px=0, match=0.7, noise=6)
    for words, said in (("noise=loud", "noise"), ("sharpness=3", "sharpness"), ("scale=2", "outpaint.seam.scale=2")):
        with pytest.raises(UsageError, match=said):
            treatment(words)


def test_canvases_painted_larger_are_stored_as_if_not(tmp_path):
    photos = make_photos(tmp_path / "photos", 2)
    rows = []
    for number, seam in enumerate(({}, {"scale": 1.5, "match": 0.5, "noise": 3, "jpeg_quality": 80})):
        recipe = recipe_for(photos, outpaint={"seam": seam})
        made = session_for(recipe, tmp_path / f"work{number}")
        run_chain(made, until="outpaint")
        rows.append(
            made.run.tables().rows("outpaint", ["photo_box", "width", "height", "subject_box", "seam", "image_size"])
        )
    for plain, larger in zip(*rows, strict=True):
        for name in ("key", "photo_box", "width", "height", "subject_box"):
            assert plain[name] == larger[name]
        assert larger["seam"] == "feather 2, scale 1.5, match 0.5, noise 3.0, jpeg_quality 80"
