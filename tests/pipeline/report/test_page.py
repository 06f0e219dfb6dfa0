"""The page: every section, the receipts' numbers, nothing from elsewhere, and a word for what is not there yet."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.report import canvases, cropper, rejects, story_strip, write_report
from pipeline.report.album import LARGE, MEDIUM, THUMB, Album
from pipeline.report.charts import histogram, intervals, line_chart
from pipeline.report.reader import MAX_SHARDS, RunReader, Verdict, sample_rows
from pipeline.runs.status import funnel
from tests.canned import canned_run, picture

VOID = {"meta", "input", "br", "img", "link", "hr"}
SECTIONS = (
    "stories", "funnel", "lost", "failures", "sheet", "rejects", "seam", "paint", "scores", "rounds", "retrieval", "training",
    "evaluation", "held_out", "time", "recipe",
)  # fmt: skip


class Page(HTMLParser):
    """Checks that tags are balanced; gathers ids, texts and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.ids, self.addresses, self.texts = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def _note(self, attrs):
        found = dict(attrs)
        assert len(found) == len(attrs), f"attribute twice at {self.getpos()}"
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("src", "href") if name in found]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def model_files(models: Path, keys: list[str]) -> None:
    """What training and evaluation leave."""
    folder = models / "cropper"
    folder.mkdir(parents=True)
    history = [{"epoch": e, "loss/box": 1 / (e + 1), "loss/score": 0.5, "val_iou": 0.5 + e / 20} for e in range(5)]
    (folder / "history.json").write_text(json.dumps(history))
    row = {"iou": [0.8123, 0.75, 0.86], "bde": [0.05, 0.04, 0.06]}
    images = [
        {"key": key, "photo": key[:24], "box_px": [10, 10, 150, 100], "photo_box": [30, 20, 150, 110],
         "model": {"iou": 0.5 + i / 40, "bde": 0.1}}
        for i, key in enumerate(keys)
    ]  # fmt: skip
    found = {
        "dataset": "canned", "protocol": "top-1", "split": "test", "n": 3,
        "rows": {"model": row, "identity": {"iou": [0.4, 0.3, 0.5], "bde": [0.2, 0.1, 0.3]}}, "images": images,
    }  # fmt: skip
    (folder / "evaluation-test.json").write_text(json.dumps(found))


def audited(key: str) -> dict:
    """What ``audit seam`` leaves."""
    row = {"logistic": [0.74, 0.71, 0.78], "line": [0.6, 0.5, 0.7], "within": 0.8, "auc": [0.74, 0.71, 0.78]}
    made = {"outpainter": "canned@0001", "seam": "feather 2", "treatment": "", "kept_psnr": 40.0}
    heat = [{"key": key, "photo": key[:24], "cells": [[4, 4, 8, 8, 0.9]]}]
    counts = {"patch": 16, "canvases": 9, "photos": 3, "folds": 2, "seed": 0, "holds": True}
    return {"rows": [{**made, **row}], "controls": {"random": row}, "heat": heat, **counts}


def calibrated(key: str) -> dict:
    """What ``audit paint`` leaves."""
    numbers = {"in_force": 6.0, "calibrated": 3.9, "unpainted": [1.0] * 5, "painted": [1.2] * 5}
    one = {"limit": "outpaint.checks.seam_ratio", **numbers, "beyond": 1, "worst": [key]}
    return {"canvases": 9, "share": 0.01, "seed": 0, "measures": {"seam_ratio": one}}


def crop_files(crops: Path) -> None:
    """What ``crop --json`` leaves, with one photo that is gone."""
    crops.mkdir(parents=True)
    (crops / "photo 3.jpg").write_bytes(picture(3, (320, 240)))
    crop = {"box_px": [10, 20, 200, 220], "score": 0.91, "references": [{"title": "Guide <i>", "similarity": 0.7}]}
    entry = {"file": "photo 3.jpg", "width": 320, "height": 240, "crops": [crop, {**crop, "score": 0.5}]}
    (crops / "crops.json").write_text(json.dumps([entry, {**entry, "file": "gone.jpg"}]))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A page of a finished run with everything there: (page, data, html, run, stages)."""
    root = tmp_path_factory.mktemp("report")
    run, stages = canned_run(root / "work")
    tables = run.tables()
    keys = [
        row["key"] for shard in tables.shards("filter") for row in tables.columns("filter", shard, ["key"]).to_pylist()
    ]
    model_files(root / "models", keys)
    crop_files(root / "crops")
    run.store.write("report/seam.json", json.dumps(audited(keys[0])).encode())
    run.store.write("report/paint.json", json.dumps(calibrated(keys[1])).encode())
    out = write_report(
        run, stages, models_dir=root / "models", crops_dir=root / "crops", out=root / "out" / "index.html"
    )
    html = out.read_text()
    return Page(html), json.loads((out.parent / "data.json").read_text()), html, run, stages


def test_every_section_is_there_and_none_is_missing(full):
    page, data, html, *_ = full
    assert [name for name in SECTIONS if name not in page.ids] == []
    assert len(page.ids) == len(set(page.ids))
    assert 'class="missing"' not in html
    assert set(data["sections"]) == set(SECTIONS)


def test_numbers_are_those_of_the_receipts(full):
    page, data, _, run, stages = full
    assert data["sections"]["funnel"] == [status.as_json() for status in funnel(run, stages)]
    by_stage = {status.stage: status for status in funnel(run, stages)}
    assert f"{by_stage['filter'].kept} canvases kept" in page.text
    assert f"{by_stage['outpaint'].n_in} canvases painted" in page.text
    assert f"low_score {by_stage['filter'].rejected['low_score']}" in page.text
    assert "failed: ValueError 1" in page.text


def test_nothing_is_fetched_from_elsewhere(full):
    page, *_ = full
    outside = {address for address in page.addresses if not address.startswith(("data:", "#"))}
    assert outside == {"https://creativecommons.org/licenses/by/4.0/"}
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets <= set(page.ids)


def test_lost_files_are_named_with_reason_and_cause(full):
    page, data, html, *_ = full
    assert {row["file"]: row["reason"] for row in data["sections"]["lost"]["listed"]} == {
        "photo 1.jpg": "duplicate", "photo 2.jpg": "truncated",
    }  # fmt: skip
    assert "same picture as photo 0.jpg" in page.text
    assert "image file is cut <script>" in page.text and "cut <script>" not in html


def test_thresholds_rounds_and_evaluation_are_shown_as_measured(full):
    page, data, *_ = full
    assert "canvas dropped under 5.50" in page.text and "crop dropped under 4.25" in page.text
    rounds = data["sections"]["rounds"]
    assert [row["round"] for row in rounds] == [1, 2]
    assert rounds[1]["gain"] == pytest.approx(rounds[1]["after"] - rounds[1]["before"], abs=1e-3)
    assert rounds[0]["after"] == pytest.approx(5.5)
    assert "0.812" in page.text and "0.750 to 0.860" in page.text


def test_photographs_shown_are_credited(full):
    page, data, *_ = full
    assert "Title 0 <b>&" in page.text and "CC-BY-4.0" in page.text
    shown = {row["file"] for row in data["credits"]}
    assert "photo 0.jpg" in shown and "photo 1.jpg" not in shown


def test_held_out_photos_that_are_gone_are_named(full):
    page, data, *_ = full
    assert data["sections"]["held_out"]["not_shown"] == ["gone.jpg"]
    assert "references: Guide <i>" in page.text


def test_references_are_best_first_and_never_the_own_photo(full):
    retrieval = full[1]["sections"]["retrieval"]
    assert retrieval["own_photo_retrieved"] == 0
    for example in retrieval["examples"]:
        similarities = [ref["similarity"] for ref in example["references"]]
        assert similarities == sorted(similarities, reverse=True) and len(similarities) == 3


def test_the_same_run_gives_the_same_page(full, tmp_path):
    *_, html, run, stages = full
    root = Path(run.store.url).parent
    again = write_report(run, stages, models_dir=root / "models", crops_dir=root / "crops", out=tmp_path / "index.html")
    assert again.read_text() == html


@pytest.mark.parametrize(("until", "absent"), [("ingest", "outpaint"), ("propose", "refine"), ("filter", "retrieve")])
def test_what_is_not_there_yet_is_named_with_its_command(tmp_path, until, absent):
    run, stages = canned_run(tmp_path / "work", until=until)
    out = write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    page = Page(out.read_text())
    for command in (absent, "train", "eval"):
        assert f"procrop-data {command} --work" in page.text
    assert "Not complete yet" in page.text


def test_a_half_done_stage_is_shown_as_far_as_it_is(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="outpaint", skip=("outpaint", 0))
    out = write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    assert "2 of 3 shards" in Page(out.read_text()).text


def test_many_shards_are_sampled_but_all_are_counted(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="ingest", shards=MAX_SHARDS + 5)
    reader = RunReader(run, stages)
    assert reader.is_sampled and len(reader.shards) == MAX_SHARDS
    assert reader.shards == RunReader(run, stages[::-1]).shards
    assert reader.funnel[0].kept == 7
    out = write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    assert f"{MAX_SHARDS} of {MAX_SHARDS + 5} work shards" in Page(out.read_text()).text


def test_canvases_are_shown_before_they_are_judged(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="outpaint")
    out = write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    assert "Painted canvases, not judged yet" in Page(out.read_text()).text


def test_an_empty_run_says_how_to_start(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="")
    out = write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")
    page = Page(out.read_text())
    assert "Nothing is done in this run yet" in page.text and "procrop-data run --work" in page.text
    assert json.loads((tmp_path / "data.json").read_text())["sections"] == {}


def test_a_damaged_evaluation_is_named(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="ingest")
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DamagedDataError, match=r"evaluation\.json"):
        write_report(run, stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "index.html")


def test_the_strip_shows_one_canvas_and_refuses_others(full):
    *_, run, _ = full
    key = run.tables().columns("filter", 0, ["key"])["key"][0].as_py()
    strip = story_strip(run, key)
    assert strip.mode == "RGB" and strip.width > 3 * strip.height and strip.width < 2400
    with pytest.raises(UsageError, match="not a kept canvas"):
        story_strip(run, "f" * 24 + "-00")


@pytest.mark.parametrize(("side", "cap"), [(THUMB, 14_000), (MEDIUM, 30_000), (LARGE, 90_000)])
def test_any_picture_fits_its_cap_so_that_the_page_is_bounded(tmp_path, side, cap):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    shown = Album().add("noise", (tmp_path / "noise.png").read_bytes(), side)
    assert (shown.width, shown.height) == (1200, 900)
    assert len(shown.uri) < cap * 4 / 3 + 40


def test_all_pictures_together_stay_under_five_megabytes():
    medium = 2 * canvases.STORIES + canvases.SHEET + canvases.RETRIEVALS
    thumbs = canvases.RETRIEVALS * canvases.REFERENCES + rejects.MAX_REASONS * rejects.EXAMPLES + 3 * cropper.EXAMPLES
    assert (medium * 30_000 + thumbs * 14_000 + cropper.HELD_OUT * 90_000) * 4 / 3 < 5_000_000


def test_a_turned_photo_is_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "turned.jpg", exif=exif)
    shown = Album().add("turned", (tmp_path / "turned.jpg").read_bytes())
    assert (shown.width, shown.height) == (200, 400)


def test_picks_are_of_different_photos_and_independent_of_order():
    rows = [Verdict(f"{photo}-{variant:02d}", 0, "kept", "", "") for photo in "abcdef" for variant in range(5)]
    chosen = sample_rows(rows, 6, "test")
    assert {row.key[0] for row in chosen} == set("abcdef")
    assert sample_rows(rows[::-1], 6, "test") == chosen


@pytest.mark.parametrize(
    "chart",
    [
        histogram([0, 1], [], marks=[("cut", 5.0, "s0")], label="none", x_label="x"),
        line_chart([1], [], label="one", x_label="x"),
        intervals([("only", 0.5, 0.5, 0.5)], label="flat", x_label="x"),
    ],
)
def test_charts_of_next_to_nothing_are_drawn(chart):
    Page(str(chart))
    assert "nan" not in chart and "inf" not in chart
