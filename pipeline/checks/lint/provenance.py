"""Checks that a picture says how it came to be: XMP with a digital source type, and where a model painted, what is photographed."""

from pipeline.checks.lint.json_schema import Report
from pipeline.shards.provenance import COMPOSITE, read_provenance

FIX = "write XMP with Iptc4xmpExt:DigitalSourceType, as procrop-data build does"
# Terms of http://cv.iptc.org/newscodes/digitalsourcetype/, retired ones too.
TERMS = frozenset(
    (
        "digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm", "print", "minorHumanEdits", "humanEdits",
        "compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced", "softwareImage", "digitalArt", "digitalCreation",
        "dataDrivenMedia", "trainedAlgorithmicMedia", "algorithmicMedia", "screenCapture", "virtualRecording", "composite",
        "compositeCapture", "compositeSynthetic", "multiFrameComputationalCapture", "sensorCapture",
    )
)  # fmt: skip


def check_provenance(packet: bytes, size: tuple[int, int], report: Report) -> None:
    """Check the XMP of a picture; never raises for any bytes. packet: empty for none; size: (width, height) in pixels."""
    if not packet:
        report("provenance", "has no XMP", FIX)
        return
    try:
        about = read_provenance(packet)
    except ValueError as error:
        report("provenance", str(error)[:200], FIX)
        return
    if about.source_type not in TERMS:
        report("provenance", f"digital source type {about.source_type[:100]!r}, want a term of IPTC", FIX)
    if about.source_type == COMPOSITE and about.region is None:
        report("provenance", "no image region in pixels says which part is photographed", FIX)
    if about.region is not None:
        x1, y1, x2, y2 = about.region
        if not (0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]):
            report("provenance", f"the image region {about.region} is not within {size[0]} x {size[1]} pixels", FIX)
    missing = [
        name
        for name, value in (("creator", about.creator), ("licence", about.licence + about.licence_url))
        if not value
    ]
    if missing:
        report("provenance-credits", f"names no {' and no '.join(missing)}", "state it where it is known (credits.csv)")
