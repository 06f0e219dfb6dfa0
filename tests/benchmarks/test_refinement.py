import numpy as np
import pytest

from benchmarks.refinement import GROUPS, Figures, best_proposals, groups_of
from stages.audits.seam.canvas_samples import AuditedCanvas
from stages.refine import RefineSettings
from tests.fakes import FakeScorer


def test_figures_are_means_over_photographs() -> None:
    figures = Figures()
    for value in (1.0, 1.0, 1.0):
        figures.add("a", share=value)
    figures.add("b", share=0.0)
    figures.add("b", share=float("nan"))
    row = figures.summary()["share"]
    assert row["mean"] == 0.5 and row["low"] == 0.0 and row["high"] == 1.0


def test_groups_have_equal_numbers_of_photographs() -> None:
    groups = list(groups_of([f"photo-{number % 9}" for number in range(40)]).values())
    assert [groups.count(group) for group in range(GROUPS)] == [3, 3, 3]


def test_the_beam_of_proposals_begins_with_the_frame() -> None:
    pixels = np.zeros((100, 150, 3), np.uint8)
    frame = (30, 20, 130, 90)
    canvas = AuditedCanvas("k", "p", pixels, pixels, frame, None, ("painter", "seam"))
    boxes = np.array([frame, (0, 0, 40, 40), (30, 20, 129, 90), (20, 10, 140, 100)], float)
    beam = best_proposals(boxes, canvas, FakeScorer(), RefineSettings())
    assert beam[0].tolist() == pytest.approx(frame)
    assert [box.tolist() for box in beam[1:]] == [
        [20, 10, 140, 100]
    ]  # the others cover too little, or are the frame again
