"""XMP in a JPEG file: a segment beside the compressed pixels, which stay as they are."""

from pipeline.shards.provenance import MAX_PACKET

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_START, _APP0, _APP1 = b"\xff\xd8", b"\xff\xe0", b"\xff\xe1"


def with_xmp(jpeg: bytes, packet: bytes) -> bytes:
    """The JPEG with a packet in a segment of its own, after the segment that makes it a JFIF file. The JPEG has no XMP yet.

    Raises ValueError for bytes that are no JPEG and for a packet that no segment holds.
    """
    if jpeg[:2] != _START or len(packet) > MAX_PACKET:
        raise ValueError(
            "not a JPEG" if jpeg[:2] != _START else f"a packet of {len(packet)} bytes, at most {MAX_PACKET}"
        )
    place = 2
    if jpeg[2:4] == _APP0:
        place += 2 + int.from_bytes(jpeg[4:6])
    view = memoryview(jpeg)  # no copy of the pixels before the one that joins them
    size = (2 + len(_XMP) + len(packet)).to_bytes(2)
    return b"".join((view[:place], _APP1, size, _XMP, packet, view[place:]))


def without_xmp(jpeg: bytes) -> tuple[bytes, bytes]:
    """The JPEG without its XMP segment, and the packet; the JPEG as it is and nothing where it has none."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and jpeg[place + 1 : place + 2] not in (b"\xda", b""):
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4])
        if jpeg[place : place + 2] == _APP1 and jpeg[place + 4 :].startswith(_XMP):
            return jpeg[:place] + jpeg[end:], jpeg[place + 4 + len(_XMP) : end]
        place = end
    return jpeg, b""
