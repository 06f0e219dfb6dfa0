"""Why a crop was chosen, in sentences: which part of the image it is, which limit shaped it, and what the references did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.core.geometry import Box, BoxPx, area, iou, to_px
from pipeline.core.json_types import JsonObject
from procrop_model.retrieval.database import Reference

SAME = 0.9  # IoU from which on two crops look alike
SIDES = ("at the left", "at the top", "at the right", "at the bottom")
LEAST_MARGIN = 0.005  # shares of the image below are not mentioned


@dataclass(frozen=True)
class ReferenceWeight:
    """What one reference had to do with a crop.

    Args:
        reference: the photograph.
        similarity: cosine in -1..1 of its vector and the image's.
        weight: its share of the attention that the image paid to references, in 0..1; 0 for croppers without attention.
    """

    reference: Reference
    similarity: float
    weight: float

    @property
    def name(self) -> str:
        """Title and author in words."""
        by = f" by {self.reference.author}" if self.reference.author else ""
        return f"'{self.reference.title or 'untitled'}'{by}"


@dataclass(frozen=True)
class Evidence:
    """What the explanation of a crop is made of, computed when it is asked for.

    Args:
        free_box: (x1, y1, x2, y2) in 0..1 of the box that the model rates highest, of any aspect and without limits, or None.
        missed: in words, the limits that this box misses: ``cuts a head``.
        references: most attention first.
        without_references: IoU of ``free_box`` with the box that the model rates highest without references; None without any.
    """

    free_box: Box | None = None
    missed: Sequence[str] = ()
    references: Sequence[ReferenceWeight] = ()
    without_references: float | None = None


@dataclass(frozen=True)
class CropFacts:
    """What a crop itself knows.

    Args:
        box_px, size: of the crop, and (width, height) of the image, in pixels.
        aspect_name: that was asked for.
        subject_kept: share of the subject inside, or None.
        faces, heads_cut: found in the image; partly inside.
        unchanged: whether the image stays whole because no crop was better by the margin asked for.
    """

    box_px: BoxPx
    size: tuple[int, int]
    aspect_name: str = ""
    subject_kept: float | None = None
    faces: int = 0
    heads_cut: int = 0
    unchanged: bool = False


@dataclass(frozen=True)
class Explanation:
    """Why a crop was chosen.

    Args:
        score: of the crop, in 0..1.
        whole_score: of the uncropped image, in 0..1.
        subject_kept: share of the subject inside the crop, or None without a subject.
        sentences: which part it is, which limit shaped it, what the references did.
        without_limits: (x1, y1, x2, y2) in pixels of the crop that the model rates highest without limits; None if it is this one.
        references: most attention first.
        without_references: as in ``Evidence``.
    """

    score: float
    whole_score: float
    subject_kept: float | None
    sentences: list[str]
    without_limits: BoxPx | None = None
    references: Sequence[ReferenceWeight] = field(default_factory=tuple)
    without_references: float | None = None

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)

    def as_json(self) -> JsonObject:
        """A JSON object; ``gain`` is ``score`` minus ``whole_score``."""
        return {
            "text": self.text,
            "score": round(self.score, 4),
            "whole_score": round(self.whole_score, 4),
            "gain": round(self.score - self.whole_score, 4),
            "subject_kept": None if self.subject_kept is None else round(self.subject_kept, 4),
            "without_limits": None if self.without_limits is None else list(self.without_limits),
            "without_references": None if self.without_references is None else round(self.without_references, 4),
            "references": [
                {
                    "key": one.reference.key, "title": one.reference.title, "author": one.reference.author,
                    "similarity": round(one.similarity, 4), "weight": round(one.weight, 4),
                }
                for one in self.references
            ],
        }  # fmt: skip


def explanation_of(facts: CropFacts, score: float, whole_score: float, evidence: Evidence) -> Explanation:
    """The explanation of a crop. score, whole_score: of the crop and of the uncropped image, in 0..1."""
    free = None if evidence.free_box is None else to_px(evidence.free_box, *facts.size)
    free = free if free is not None and iou(free, facts.box_px) < SAME else None
    sentences = [part_sentence(facts), limit_sentence(facts, free, evidence.missed), reference_sentence(evidence)]
    return Explanation(
        score, whole_score, facts.subject_kept, sentences, free, evidence.references, evidence.without_references
    )


def part_sentence(facts: CropFacts) -> str:
    """Which part of the image the crop is, and what is inside."""
    share = area(facts.box_px) / (facts.size[0] * facts.size[1])
    left_out = _margins(facts.box_px, facts.size)
    text = f"It keeps {share:.0%} of the photo and leaves out {left_out}" if left_out else "It is the whole photo"
    inside = []
    if facts.subject_kept is not None:
        inside.append(f"{facts.subject_kept:.0%} of the subject is inside")
    if facts.faces:
        inside.append("no head is cut" if not facts.heads_cut else f"{facts.heads_cut} of {facts.faces} heads are cut")
    return f"{'; '.join([text, *inside])}."


def _margins(box: BoxPx, size: tuple[int, int]) -> str:
    width, height = size
    shares = (box[0] / width, box[1] / height, 1 - box[2] / width, 1 - box[3] / height)
    named = sorted(zip(shares, SIDES, strict=True), key=lambda one: -one[0])
    return and_list([f"{share:.0%} {side}" for share, side in named if share >= LEAST_MARGIN])


def limit_sentence(facts: CropFacts, free: BoxPx | None, missed: Sequence[str]) -> str:
    """Which limit shaped the crop. free: another one, which the model rates highest; missed: the limits that it misses."""
    if facts.unchanged:
        return "It stays whole because no crop scores higher by the margin that was asked for."
    if free is None:
        return "No limit changed it: it is the crop that the model rates highest."
    if missed:
        return f"The crop that the model rates highest {and_list(missed)}, so the frame was moved."
    if facts.aspect_name not in ("", "free"):
        return f"The crop that the model rates highest is not {facts.aspect_name}, which was asked for."
    return "The model rates another crop higher; this one is distinct from it."


def reference_sentence(evidence: Evidence) -> str:
    """What the references did."""
    if not evidence.references:
        return "No reference photographs were used."
    first, count = evidence.references[0], len(evidence.references)
    which = f"Of {count} reference photographs" if count > 1 else "The reference photograph"
    if first.weight:
        what = f"got {first.weight:.0%} of the attention, similarity {first.similarity:.2f}"
    else:
        what = f"is the most similar, {first.similarity:.2f}"
    text = (
        f"{which}, {first.name} {what}."
        if count > 1
        else f"{which} was {first.name}, similarity {first.similarity:.2f}."
    )
    if evidence.without_references is None:
        return text
    same = evidence.without_references >= SAME
    rest = "nearly the same crop" if same else "another crop"
    return f"{text} Without references the model would rate {rest} highest (IoU {evidence.without_references:.2f})."


def and_list(words: Sequence[str]) -> str:
    """``a, b and c``."""
    *most, last = words or ("",)
    return f"{', '.join(most)} and {last}" if most else last
