"""What a canvas says of itself, as XMP: that a model painted a part of it, which part is the photograph, whose it is, who painted.

Properties are those of the IPTC Photo Metadata Standard 2025.1 and of XMP itself. The licence of the painter, for which there is
none, has a name of our own. A packet has no date and no random identifier, so the same canvas has the same bytes.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pipeline.core.escaping import one_line
from pipeline.core.geometry import BoxPx

COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_ROLE = "http://cv.iptc.org/newscodes/imageregionrole/compositeImageItem"
MAX_PACKET = 65_502  # bytes: a segment of a JPEG holds 65,535, less its length and the name of XMP
_SHORT = 500  # characters of a value where all together would not fit
_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "procrop": "urn:procrop-data:1.0#",
}
_MARKUP, _QUOTE = re.compile('[&<>"]'), {'"': "&quot;"}


class Provenance(NamedTuple):
    """What is written into a canvas. Texts may be empty.

    Args:
        region: rectangle of the photograph, (x1, y1, x2, y2) in pixels of the canvas, half-open; None where none is given.
        licence_url, source: of the photograph.
        painter, painter_version, painter_licence: the model that painted the surroundings.
        prompt: what it was asked for.
        title, creator, licence: of the photograph.
        source_type: a term of IPTC's vocabulary *digital source type*.
    """

    region: BoxPx | None
    licence_url: str = ""
    source: str = ""
    painter: str = ""
    painter_version: str = ""
    painter_licence: str = ""
    prompt: str = ""
    title: str = ""
    creator: str = ""
    licence: str = ""
    source_type: str = COMPOSITE


# Names of the texts in the order of the fields: first the attributes of the description, then its elements.
_ATTRIBUTES = (
    "xmpRights:WebStatement", "dc:source", "Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AISystemVersionUsed",
    "procrop:painterLicence", "Iptc4xmpExt:AIPromptInformation",
)  # fmt: skip
_ALT = '<{0}><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></{0}>'
_ELEMENTS = (
    _ALT.format("dc:title"), "<dc:creator><rdf:Seq><rdf:li>%s</rdf:li></rdf:Seq></dc:creator>",
    _ALT.format("xmpRights:UsageTerms"),
)  # fmt: skip
_REGION = (
    '<Iptc4xmpExt:ImageRegion><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:RegionBoundary'
    ' Iptc4xmpExt:rbShape="rectangle" Iptc4xmpExt:rbUnit="pixel"'
    ' Iptc4xmpExt:rbX="%d" Iptc4xmpExt:rbY="%d" Iptc4xmpExt:rbW="%d" Iptc4xmpExt:rbH="%d"/>'
    "<Iptc4xmpExt:rId>photograph</Iptc4xmpExt:rId>"
    '<Iptc4xmpExt:rRole><rdf:Bag><rdf:li rdf:parseType="Resource"><xmp:Identifier><rdf:Bag><rdf:li>'
    f"{_ROLE}</rdf:li></rdf:Bag></xmp:Identifier></rdf:li></rdf:Bag></Iptc4xmpExt:rRole>"
    "</rdf:li></rdf:Bag></Iptc4xmpExt:ImageRegion>"
)
_HEAD = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    + " ".join(f'xmlns:{name}="{address}"' for name, address in _NAMESPACES.items())
    + '><rdf:Description rdf:about="" Iptc4xmpExt:DigitalSourceType="'
).encode()
_TAIL = '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'


def xmp_packet(about: Provenance) -> bytes:
    """The XMP packet, at most ``MAX_PACKET`` bytes: where all texts together are longer, each is cut."""
    texts = about[1:10]  # literal, so that their type is known
    # Canvases are written at thousands a second, so what all of them share is made once, and most texts need no escaping.
    template = _template(tuple(map(bool, texts)), about.source_type, about.region is not None)
    filled = [text for text in texts if text]
    if not "".join(filled).isprintable():
        filled = [text if text.isprintable() else one_line(text) for text in filled]
    if _MARKUP.search("".join(filled)):
        filled = [escape(text, _QUOTE) for text in filled]
    x1, y1, x2, y2 = about.region or (0, 0, 0, 0)
    numbers = (x1, y1, x2 - x1, y2 - y1) if about.region else ()
    packet = _HEAD + (template % (*filled, *numbers)).encode()
    if len(packet) <= MAX_PACKET:
        return packet
    return xmp_packet(Provenance._make((about.region, *(text[:_SHORT] for text in texts), about.source_type)))


@lru_cache(maxsize=1024)
def _template(filled: tuple[bool, ...], source_type: str, region: bool) -> str:
    """What follows the head, with a place for each text that is not empty, then for the numbers of the region."""
    attributes = [f' {name}="%s"' for name, used in zip(_ATTRIBUTES, filled, strict=False) if used]
    elements = [element for element, used in zip(_ELEMENTS, filled[len(_ATTRIBUTES) :], strict=True) if used]
    term = escape(SOURCE_TYPES + source_type, _QUOTE).replace("%", "%%")
    return "".join((term, '"', *attributes, ">", *elements, _REGION if region else "", _TAIL))


def read_provenance(packet: bytes) -> Provenance:
    """What an XMP packet of any program says. Raises ValueError for one that is no XML or has a document type."""
    if b"<!" in packet:  # entities can make a small text very large; XMP has none
        raise ValueError("the XMP has a document type, a comment or a CDATA section")
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except ElementTree.ParseError as error:
        raise ValueError(f"the XMP is no XML ({error})") from error
    nodes = list(root.iter(_name("rdf:Description")))

    def text(*names: str) -> str:
        return next((found for name in names for node in nodes if (found := _value(node, name))), "")

    return Provenance(
        region=_region(root), title=text("dc:title"), creator=text("dc:creator"),
        licence=text("xmpRights:UsageTerms", "dc:rights"), licence_url=text("xmpRights:WebStatement"), source=text("dc:source"),
        painter=text("Iptc4xmpExt:AISystemUsed"), painter_version=text("Iptc4xmpExt:AISystemVersionUsed"),
        painter_licence=text("procrop:painterLicence"), prompt=text("Iptc4xmpExt:AIPromptInformation"),
        source_type=re.sub(r"^https?://cv\.iptc\.org/newscodes/digitalsourcetype/", "", text("Iptc4xmpExt:DigitalSourceType")),
    )  # fmt: skip


def _name(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def _value(node: ElementTree.Element, name: str) -> str:
    """A property of a description: an attribute, text, or the first item of a list."""
    found = node.find(_name(name))
    if found is None:
        return node.get(_name(name), "")
    item = found.find(f".//{_name('rdf:li')}")
    text = (found if item is None else item).text or found.get(_name("rdf:resource"))
    return (text or "").strip()


def _region(root: ElementTree.Element) -> BoxPx | None:
    """The first rectangle in pixels among the image regions."""
    for boundary in root.iter(_name("Iptc4xmpExt:RegionBoundary")):
        inner = boundary.find(_name("rdf:Description"))
        node = boundary if inner is None else inner
        names = ("rbShape", "rbUnit", "rbX", "rbY", "rbW", "rbH")
        shape, unit, *numbers = (_value(node, f"Iptc4xmpExt:{name}") for name in names)
        if (shape, unit) == ("rectangle", "pixel"):
            try:
                x, y, width, height = (int(number) for number in numbers)
            except ValueError as error:
                raise ValueError(f"the image region has {', '.join(map(repr, numbers))}, want whole numbers") from error
            return x, y, x + width, y + height
    return None
