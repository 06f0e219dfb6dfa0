"""Two halves of any set, split once by a hash of each photograph's file name: settings are chosen on the first, figures reported on
the second.
"""

import hashlib
from dataclasses import replace

from pipeline.core.errors import UsageError
from procrop_model.datasets.labelled import LabelledSet

CHOOSE, CHECK = "choose", "check"
HALVES = (CHOOSE, CHECK)


def half_of(name: str) -> str:
    """``choose`` or ``check``, by the file name of a photograph alone: the same in every set, in any order, on any machine.

    The first bit of the sha256 of the name in UTF-8.
    """
    return CHECK if hashlib.sha256(name.encode()).digest()[0] >= 128 else CHOOSE


def half_set(labelled: LabelledSet, half: str) -> LabelledSet:
    """The pictures of one half; a note has their number. Pictures of one file stay together.

    Raises UsageError for an unknown half.
    """
    if half not in HALVES:
        raise UsageError(f"--half '{half}': want {' (to choose settings) or '.join(HALVES)} (to report figures)")
    images = [image for image in labelled.images if half_of(image.path.name) == half]
    note = f"the half '{half}' by hash of the file name: {len(images)} of {len(labelled.images)} pictures"
    return replace(labelled, images=images, notes=[*labelled.notes, note])
