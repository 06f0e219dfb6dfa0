"""The fixed words for why a sample was dropped: what was found, and what changes it. The stages' own code uses the words alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DropReason:
    """One word.

    Args:
        stage: that drops the sample.
        meaning: what was found.
        remedy: what changes it; empty where nothing should.
    """

    stage: str
    meaning: str
    remedy: str = ""


DROP_REASONS: dict[str, DropReason] = {
    "unreadable": DropReason("ingest", "the file is no picture that can be decoded", "replace the file"),
    "truncated": DropReason("ingest", "the picture ends early", "copy the file again"),
    "unsupported": DropReason(
        "ingest",
        "the format is known, but needs a package that is not installed",
        "pip install 'procrop-data[formats]'",
    ),
    "too_small": DropReason("ingest", "a side is under the least one", "ingest.min_side"),
    "too_large": DropReason("ingest", "a side is over the greatest one", "ingest.max_side"),
    "too_long": DropReason("ingest", "the picture is longer than the greatest aspect ratio", "ingest.max_aspect"),
    "bomb": DropReason("ingest", "a small file that decodes to very many pixels", "ingest.max_pixels"),
    "bad_mode": DropReason(
        "ingest", "transparent parts, or a colour mode that is no photograph's", "flatten the picture"
    ),
    "animated": DropReason("ingest", "more than one frame", "export one frame"),
    "duplicate": DropReason(
        "ingest", "the same picture as another file, exactly or nearly", "ingest.near_duplicate_bits"
    ),
    "changed": DropReason("ingest", "the file is not the one that was listed", "run again"),
    "refused": DropReason("ingest", "a row of a list names a place that it may not reach", "ingest.lists"),
    "bad_caption": DropReason("caption", "the endpoint answered with an empty prompt", "run --retry-failed"),
    "caption_unreachable": DropReason("caption", "the endpoint did not answer", "run --retry-failed"),
    "caption_refused": DropReason("caption", "the endpoint refused the request", "see the detail in status --failed"),
    "blank": DropReason("outpaint", "the paint has hardly any contrast", "outpaint.checks"),
    "seam_visible": DropReason(
        "outpaint", "the border between paint and photograph shows", "outpaint.checks, outpaint.seam"
    ),
    "repeats_photo": DropReason("outpaint", "the paint repeats the subject, plain or mirrored", "outpaint.checks"),
    "unsafe": DropReason("outpaint", "the safety checker flags the canvas", "models.outpainter.safety"),
    "out_of_memory": DropReason(
        "outpaint",
        "the device has no memory for one sample",
        "a smaller outpaint.long_side, or models.outpainter.enable_model_cpu_offload",
    ),
    "invented_face": DropReason(
        "perceive/canvases", "the paint shows a face that the photograph does not have", "models.faces"
    ),
    "bad_outpaint": DropReason(
        "filter", "much of what looks like a subject was invented outside the photograph", "filter.min_own_subject"
    ),
    "subject_cut": DropReason(
        "filter", "the frame of the photograph cuts through its subject", "filter.max_cut_subject"
    ),
    "low_score": DropReason("filter", "the pseudo-label scores less than the threshold", "filter.canvas_quantile"),
    "no_distinct_crop": DropReason("filter", "too few crops that differ from each other", "filter.min_crops"),
    "near_test": DropReason("build", "similar to a picture of an --exclude-near folder"),
    "split_leak": DropReason("build", "similar to a photograph of a more protected split (test, then val)"),
    "near_duplicate": DropReason("build", "similar to a larger photograph of its split", "build.near_duplicates"),
    "licence_non_commercial": DropReason(
        "build", "the licence of the photograph allows no commercial use", "build.licence_policy"
    ),
    "licence_no_derivatives": DropReason(
        "build", "the licence forbids works made of the photograph, which a canvas is", "build.licence_policy"
    ),
    "licence_unknown": DropReason(
        "build", "the licence of the photograph is not stated or not understood", "build.licence_policy"
    ),
}
