"""The examples of docs/extending.md run as they are printed, and keep the promises of their protocols."""

import ast
import pickle
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pipeline.runs.status import rejected_samples
from stages.backends.base import protocols
from stages.backends.base.protocols import Encoded, PaintRequest
from stages.backends.registry import Models
from stages.backends.smoke_test import sample_makers
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.doc_pages import ROOT, blocks

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def examples():
    """Every name that the blocks define. Each block runs in a namespace of its own, so that it has its own imports."""
    found = {}
    for number, block in enumerate(blocks(PAGE, "python")):
        module = ModuleType(f"extending_{number}")
        sys.modules[module.__name__] = module  # where pickle and dataclasses look for the classes
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), module.__dict__)
        found |= {
            node.name: module.__dict__[node.name] for node in ast.parse(block).body if isinstance(node, ast.ClassDef)
        }
    return found


@pytest.fixture(scope="module")
def models(examples):
    return Models(
        examples["LightCaptioner"](), examples["NoiseOutpainter"](), examples["CentreSegmenter"](), examples["ContrastScorer"](),
        examples["ColourSettings"].model_validate({"kind": "colours"}).build(), examples["SkyComposer"](),
        examples["NobodyFinder"](),
    )  # fmt: skip


def test_each_protocol_has_an_example():
    roles = [name for name, value in vars(protocols).items() if getattr(value, "_is_protocol", False)]
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in roles if f"``{name}``" not in text and f"`{name}`" not in text] == ["Protocol", "Model"]


def test_each_backend_makes_valid_samples(models):
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    samples = sample_makers(models, picture, 64)
    assert set(samples) == {"captioner", "segmenter", "encoder", "scorer", "faces", "composer", "outpainter"}
    assert all(make() for make in samples.values())
    for role in samples:
        again = pickle.loads(pickle.dumps(getattr(models, role)))
        assert (again.digest, bool(again.name), bool(again.licence)) == (getattr(models, role).digest, True, True)


def test_the_encoder_keeps_its_promises(examples):
    encoder = examples["ColourSettings"].model_validate({"kind": "colours", "cells": 2}).build()
    images = [np.full((3, 5, 3), 255, np.uint8), np.zeros((4, 2, 3), np.uint8)]
    encoded = encoder.encode(images)
    assert all(isinstance(one, Encoded) for one in encoded) and len(encoder.digest) == 16
    assert [(one.vector.shape, one.tokens.shape, one.grid) for one in encoded] == [((12,), (4, 3), (2, 2))] * 2


def test_the_proposer_and_the_outpainter_keep_theirs(examples, models):
    (boxes,) = examples["HalvesProposer"]().propose([np.zeros((6, 10, 3), np.uint8)], [()])
    assert boxes.tolist() == [[0, 0, 5, 6], [5, 0, 10, 6]]
    tiny = PaintRequest(np.zeros((4, 4, 3), np.uint8), None, (0, 0, 4, 4), (16, 16), 1)
    (declined,) = models.outpainter.paint([tiny])
    assert declined.reason == "blank"


def test_the_stage_runs_and_lists_what_it_drops(examples, tmp_path):
    photos = make_photos(tmp_path / "photos", 3)
    Image.new("RGB", (320, 240), "gray").save(photos / "flat.jpg")
    session = session_for(recipe_for(photos), tmp_path / "work")
    session = replace(session, stages=[session.stages[0], examples["MeasureSharpness"](0.5)])
    run_chain(session)
    assert len(kept_rows(session, "sharpness")) == 3
    (dropped,) = rejected_samples(session.run, session.stages)
    assert (dropped["stage"], dropped["reason"]) == ("sharpness", "blurred") and "levels, want 0.5" in dropped["detail"]
