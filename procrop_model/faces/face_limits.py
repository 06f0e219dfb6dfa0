"""Faces and heads as a constraint on crops: by how much boxes cut them, and the nearest boxes that cut none.

A face is prominent when its side is at least half of the largest face's: crops contain the heads of all prominent faces. Other
faces may lie wholly inside or wholly outside. Boxes are float32 [N, 4] xyxy in 0..1 of the image. Pure numpy.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from procrop_model.faces.heads import chin_to_hair, head_boxes

Floats = NDArray[np.float32]
PROMINENT = 0.5  # side of a prominent face, as a share of the largest face's side
LEAST_SIDE = 0.03  # of a prominent face, as a share of the image's (root of the areas): smaller ones are passers-by
MOST = 8  # prominent faces at most, largest first: more than that is a crowd, which any crop must cut
MARGIN = 0.05  # of a head's sides that moved boxes leave around it: a detector places a face to about so much
EDGE = 0.01  # share of a head that may lie beyond the border, of the rounding of boxes and detections
# What a box does to one face, as violations. A head inside counts 0; less than the whole head, but the face from chin to hair,
# up to HEAD_CUT; a face left out more than that; and a cut face most, unless more than half of it shows.
HEAD_CUT, LEFT_OUT, FACE_CUT = 0.5, 1.5, 1.0
FAR, NEAR = 10.0, 1.0  # weight of violations and of background faces that are cut, against the displacement of a box
LEAST_LEFT = 0.5  # of a box's sides, when an edge moves inward past a head
STEPS = 12  # moves of one box at most; each brings one face inside or outside
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of windows of an aspect, beside those that hold the heads exactly
SLACK = 0.02  # violation above the least possible that windows may have, so that a choice is left


class FaceLimits:
    """The faces of one image.

    Args:
        faces: [N, 4 or more], xyxy in 0..1, as ``FaceDetector.detect`` gives them.
    """

    def __init__(self, faces: Floats) -> None:
        faces = (
            np.asarray(faces, np.float32).reshape(len(faces), -1)[:, :4] if len(faces) else np.zeros((0, 4), np.float32)
        )
        sides = np.sqrt(np.clip(faces[:, 2:] - faces[:, :2], 0, None).prod(axis=1))
        order = np.argsort(-sides, kind="stable")
        self.heads, self.parts = head_boxes(faces[order]), chin_to_hair(faces[order])
        room = MARGIN * (self.heads[:, 2:] - self.heads[:, :2])
        self.roomy = np.clip(self.heads + np.concatenate([-room, room], axis=1), 0, 1).astype(np.float32)
        self.weights = sides[order] / max(float(sides.max(initial=0)), 1e-6)  # [N] in 0..1, largest first
        prominent = (self.weights >= PROMINENT) & (sides[order] >= LEAST_SIDE)
        prominent[MOST:] = False
        self.prominent = prominent

    def __len__(self) -> int:
        return len(self.heads)

    def violation(self, boxes: Floats) -> Floats:
        """By how much [M] boxes [M, 4] violate the limit of the prominent faces, 0 for those that contain all their heads.

        A weighted mean over those faces: up to 0.5 where heads are cut but faces are whole from chin to hair; 1.5 where they are
        left out; 1 to 2 where faces are cut.
        """
        states = self._states(boxes)[:, self.prominent]
        weights = self.weights[self.prominent]
        return np.asarray(states @ weights / max(float(weights.sum()), 1e-6), np.float32)

    def background_cut(self, boxes: Floats) -> Floats:
        """By how much [M] boxes [M, 4] cut the other faces: the sum of their sides, as shares of the largest; half for a head."""
        behind = ~self.prominent
        heads, parts = _covered(boxes, self.heads[behind]), _covered(boxes, self.parts[behind])
        cut = HEAD_CUT * _is_cut(heads) + (FACE_CUT - HEAD_CUT) * _is_cut(parts)
        return np.asarray(cut @ self.weights[behind], np.float32)

    def cuts(self, box: Floats) -> tuple[int, int]:
        """How many heads, and how many faces from chin to hair, one box [4] cuts; a head that lies outside is not cut."""
        heads, parts = (_is_cut(_covered(box[None], of)) for of in (self.heads, self.parts))
        return int(heads.sum()), int(parts.sum())

    def prominent_lost(self, box: Floats) -> int:
        """How many heads of prominent faces do not lie wholly in one box [4]."""
        return int((_covered(box[None], self.heads[self.prominent]) < 1 - EDGE).sum())

    def required(self) -> Floats | None:
        """The box [4] around the heads of all prominent faces, with some room; None without any."""
        if not self.prominent.any():
            return None
        heads = self.roomy[self.prominent]
        return np.concatenate([heads[:, :2].min(0), heads[:, 2:].max(0)])

    def adjust(self, boxes: Floats) -> Floats:
        """The boxes [M, 4] with each edge moved as little as possible, so that heads lie inside or outside; in the same order."""
        return np.stack([self._adjusted(box) for box in boxes]) if len(boxes) else boxes

    def adjust_in_shape(self, boxes: Floats, largest: tuple[float, float]) -> Floats:
        """For each box [M, 4] of one aspect the nearest window of that aspect that cuts least, [M, 4] in the same order.

        largest: width and height in 0..1 of the largest window of the aspect in the image.
        """
        windows = np.array(list(self._windows(largest)), np.float32)
        violation = self.violation(windows)
        allowed = violation <= violation.min() + SLACK
        windows, cost = windows[allowed], FAR * violation[allowed] + NEAR * self.background_cut(windows[allowed])
        moved = np.abs(windows[None] - boxes[:, None]).mean(axis=2)  # [M, W]
        chosen = windows[(cost + moved).argmin(axis=1)]
        keeps = self._cost(boxes) <= (cost + moved).min(axis=1)
        return np.where(keeps[:, None], boxes, chosen).astype(np.float32)

    def _cost(self, boxes: Floats) -> Floats:
        return np.asarray(FAR * self.violation(boxes) + NEAR * self.background_cut(boxes), np.float32)

    def _states(self, boxes: Floats) -> Floats:
        """What each box does to each face, [M, N]: 0 inside, else as HEAD_CUT, LEFT_OUT and FACE_CUT say."""
        heads, parts = _covered(boxes, self.heads), _covered(boxes, self.parts)
        state = np.where(parts >= 1 - EDGE, HEAD_CUT * (1 - heads), FACE_CUT + 1 - parts)
        state = np.where(parts <= EDGE, LEFT_OUT, state)
        state = np.where((parts <= EDGE) & (heads > EDGE), LEFT_OUT + HEAD_CUT * heads, state)
        return np.where(heads >= 1 - EDGE, 0, state).astype(np.float32)

    def _adjusted(self, box: Floats) -> Floats:
        """Greedy: of all moves that bring one face inside or outside, the one that lowers the cost most, until none does."""
        current = box
        cost = float(self._cost(box[None])[0])
        for _ in range(STEPS):
            if cost == 0:
                break
            moves = np.array([*self._moves(current)], np.float32)
            costs = self._cost(moves) + np.abs(moves - box).mean(axis=1)
            best = int(costs.argmin())
            if costs[best] >= cost - 1e-6:
                break
            current, cost = moves[best], float(costs[best])
        return current

    def _moves(self, box: Floats) -> Iterator[Floats]:
        """The box around it and all prominent heads; and around it and each head or face; and without each head, by one edge."""
        required = self.required()
        around = [*self.roomy, *self.parts] if required is None else [required, *self.roomy, *self.parts]
        for region in around:
            yield np.concatenate([np.minimum(box[:2], region[:2]), np.maximum(box[2:], region[2:])])
        for head in self.roomy:
            for edge, place in enumerate(
                (head[2], head[3], head[0], head[1])
            ):  # left edge to its right side, and so on
                moved = box.copy()
                moved[edge] = place
                inward = place > box[edge] if edge < 2 else place < box[edge]
                if inward and (moved[2:] - moved[:2] > LEAST_LEFT * (box[2:] - box[:2])).all():
                    yield moved

    def _windows(self, largest: tuple[float, float]) -> Iterator[tuple[float, float, float, float]]:
        """Windows of an aspect whose edges touch heads and faces, of several sizes."""
        wide, high = largest
        exact = self.heads[
            : 2 if len(self) <= 2 else 0
        ]  # where room does not fit; of more faces the windows would be too many
        targets = np.concatenate([self.roomy[:MOST], self.parts[:MOST], exact])
        required = self.required()
        held = targets if required is None else np.concatenate([targets, required[None]])
        fits = np.max((held[:, 2:] - held[:, :2]) / np.array([wide, high]), axis=1, initial=0)
        scales = {*SCALES, *(round(float(s), 3) + 1e-3 for s in fits if SCALES[-1] < s < 1)}
        for scale in sorted(scales, reverse=True):
            w, h = wide * min(scale, 1), high * min(scale, 1)
            for x in _places(held[:, 0], held[:, 2], w):
                for y in _places(held[:, 1], held[:, 3], h):
                    yield (x, y, x + w, y + h)


def _places(low: Floats, high: Floats, side: float) -> list[float]:
    """Starts in 0..1 of an interval of length ``side`` that touches, leaves out or centres intervals [K]; without near twins."""
    starts = np.concatenate(
        [[0, (1 - side) / 2, 1 - side], low, high - side, high, low - side, (low + high - side) / 2]
    )
    inside = np.unique(np.round(starts[(starts >= 0) & (starts <= 1 - side + 1e-6)], 3 if len(low) > MOST else 4))
    return [min(max(float(start), 0.0), 1 - side) for start in inside]


def _is_cut(covered: Floats) -> NDArray[np.bool_]:
    """Whether a region is partly inside, of shares of any shape."""
    return (covered > EDGE) & (covered < 1 - EDGE)


def _covered(boxes: Floats, regions: Floats) -> Floats:
    """Share [M, N] of each region [N, 4] that lies in each box [M, 4]; 1 for an empty region."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (regions[:, 2:] - regions[:, :2]).prod(axis=1)
    return np.asarray(np.where(areas > 0, shared / np.maximum(areas, 1e-12), 1), np.float32)
