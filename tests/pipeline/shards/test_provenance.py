"""What is written as XMP is what is read, by us, by Pillow and by exiftool."""

import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.escaping import one_line
from pipeline.shards.jpeg_xmp import with_xmp, without_xmp
from pipeline.shards.provenance import MAX_PACKET, SOURCE_TYPES, Provenance, read_provenance, xmp_packet

FULL = Provenance(
    (3, 5, 40, 29), "https://creativecommons.org/licenses/by-sa/4.0/", "https://example.org/a?b=1&c=2", "painter", "d1g3st",
    "CreativeML Open RAIL-M", "a wide sky", 'a "title" & <more>', "Ünï 写真 O'Neil", "CC-BY-SA-4.0",
)  # fmt: skip


def jpeg(**options):
    sink = io.BytesIO()
    Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint8).reshape(32, 48, 3)).save(sink, "JPEG", **options)
    return sink.getvalue()


def test_a_packet_is_read_as_it_was_written_and_always_the_same():
    assert read_provenance(xmp_packet(FULL)) == FULL and xmp_packet(FULL) == xmp_packet(FULL._replace())
    empty = Provenance(None)
    assert read_provenance(xmp_packet(empty)) == empty


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_kept(title, prompt):
    found = read_provenance(xmp_packet(FULL._replace(title=title, prompt=prompt)))
    assert (one_line(found.title), one_line(found.prompt)) == (one_line(title), one_line(prompt))


def test_long_texts_are_cut_so_that_a_segment_holds_them():
    long = {
        name: "&" * 2000
        for name in ("title", "creator", "licence", "licence_url", "source", "prompt", "painter_licence")
    }
    packet = xmp_packet(FULL._replace(**long))
    assert len(packet) <= MAX_PACKET and read_provenance(packet).title == "&" * 500


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
def test_pixels_and_segments_of_a_jpeg_stay(options):
    plain, packet = jpeg(quality=90, **options), xmp_packet(FULL)
    marked = with_xmp(plain, packet)
    assert without_xmp(marked) == (plain, packet) and without_xmp(plain) == (plain, b"")
    with Image.open(io.BytesIO(marked)) as image, Image.open(io.BytesIO(plain)) as before:
        assert image.info["xmp"] == packet and image.getexif() == before.getexif()
        assert np.array_equal(np.asarray(image), np.asarray(before))


def test_what_is_no_jpeg_or_too_long_is_refused():
    with pytest.raises(ValueError, match="not a JPEG"):
        with_xmp(b"GIF89a", b"")
    with pytest.raises(ValueError, match="at most 65502"):
        with_xmp(jpeg(), bytes(MAX_PACKET + 1))


def test_xmp_of_other_programs_is_understood():
    text = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
     xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/">
     <rdf:Description i:DigitalSourceType="https://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>
     <rdf:Description><dc:creator><rdf:Seq><rdf:li>A</rdf:li><rdf:li>B</rdf:li></rdf:Seq></dc:creator>
     <i:ImageRegion><rdf:Bag><rdf:li><rdf:Description><i:RegionBoundary><rdf:Description i:rbShape="rectangle" i:rbUnit="pixel"
     i:rbX="1" i:rbY="2" i:rbW="3" i:rbH="4"/></i:RegionBoundary></rdf:Description></rdf:li></rdf:Bag></i:ImageRegion>
     </rdf:Description></rdf:RDF></x:xmpmeta>"""
    found = read_provenance(text.encode())
    assert (found.source_type, found.creator, found.region) == ("digitalCapture", "A", (1, 2, 4, 6))


@pytest.mark.parametrize("packet", [b"", b"<a", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe"])
def test_what_is_no_xmp_is_an_error(packet):
    with pytest.raises(ValueError, match="XMP"):
        read_provenance(packet)


def test_exiftool_reads_the_same(tmp_path):
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not on this machine")
    (tmp_path / "a.jpg").write_bytes(with_xmp(jpeg(), xmp_packet(FULL)))
    printed = subprocess.run(
        ["exiftool", "-json", "-struct", "-n", "-XMP:all", str(tmp_path / "a.jpg")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    (told,) = json.loads(printed.stdout)
    (region,) = told["ImageRegion"]
    edges = {"RbShape": "rectangle", "RbUnit": "pixel", "RbX": 3, "RbY": 5, "RbW": 37, "RbH": 24}
    assert region["RegionBoundary"] == edges
    assert region["RRole"][0]["Identifier"] == ["http://cv.iptc.org/newscodes/imageregionrole/compositeImageItem"]
    assert told["DigitalSourceType"] == SOURCE_TYPES + FULL.source_type
    assert (told["Title"], told["Creator"], told["UsageTerms"]) == (FULL.title, [FULL.creator], FULL.licence)
    assert (told["WebStatement"], told["Source"], told["PainterLicence"]) == (
        FULL.licence_url, FULL.source, FULL.painter_licence
    )  # fmt: skip
    assert (told["AISystemUsed"], told["AISystemVersionUsed"], told["AIPromptInformation"]) == (
        FULL.painter, FULL.painter_version, FULL.prompt
    )  # fmt: skip
