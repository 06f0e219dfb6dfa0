"""Mutated inputs through all readers: none may end in a traceback, hang, or fill the memory.

    procrop-data bench fuzz [--inputs 100000] [--seed 0] [--reader NAME] [--keep FOLDER]

What is refused must be refused in words: a ``SampleError`` with its reason, an ``OSError``, or one line of a ``ProcropError``.
"""

import argparse
import csv
import io
import random
import resource
import signal
import tarfile
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageCms

from benchmarks.harness import environment, finish
from pipeline.app.crop_files.inputs import read_regions
from pipeline.checks.lint.linter import Linter
from pipeline.checks.lint.names import find_shards
from pipeline.core.errors import ProcropError, SampleError
from procrop_model.inference.image_input import Original
from stages.photos.credits import parse_credits
from stages.photos.decode import PhotoLimits, decode_photo
from stages.photos.source_readers import InputFile, list_inputs
from stages.photos.source_scan import scan_file
from stages.photos.url_list import rows_of_list

HANG_S = 10
LIMITS = PhotoLimits(min_side=8, max_side=16384, max_pixels=1 << 24, max_aspect=100.0)
_NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\1",
    b"\1\0\0\0",
    b"-1",
    b"%s",
    b"\n",
)
Reader = Callable[[bytes, Path], str]


def seeds_of_pictures() -> dict[str, bytes]:
    """One small picture of each format and kind of metadata."""
    image = Image.linear_gradient("L").resize((48, 40)).convert("RGB")
    exif = Image.Exif()
    exif.update(
        {0x0112: 6, 0x010F: "Maker", 0x0132: "2020:01:01 00:00:00", 0x011A: 72.0, 0x013B: "Ann", 0x8298: "Copyright"}
    )
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0xA002: 48})
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rows = {
        "exif.jpg": ("JPEG", image, {"exif": exif}), "icc.jpg": ("JPEG", image, {"icc_profile": icc}),
        "g.jpg": ("JPEG", image.convert("L"), {"icc_profile": icc}),
        "cmyk.jpg": ("JPEG", image.convert("CMYK"), {"icc_profile": icc}),
        "progressive.jpg": ("JPEG", image, {"progressive": True}),
        "a.png": ("PNG", image, {"exif": exif, "icc_profile": icc}), "p.png": ("PNG", image.convert("P"), {"transparency": 1}),
        "a.tif": ("TIFF", image, {"exif": exif}), "l.tif": ("TIFF", image.convert("L"), {"compression": "tiff_lzw"}),
        "f.tif": ("TIFF", image.convert("F"), {}), "a.webp": ("WEBP", image, {"exif": exif}), "a.gif": ("GIF", image, {}),
        "a.bmp": ("BMP", image, {}), "a.jp2": ("JPEG2000", image, {}), "a.avif": ("AVIF", image, {"exif": exif, "speed": 9}),
    }  # fmt: skip
    return {name: _saved(kind, picture, options) for name, (kind, picture, options) in rows.items()}


def _saved(kind: str, picture: Image.Image, options: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def seeds_of_tars() -> dict[str, bytes]:
    """A tar of each dialect."""
    photo = _saved("JPEG", Image.new("RGB", (32, 32)), {})
    seeds = {}
    for name, dialect in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=dialect) as tar:
            names = ["0001.jpg", "._0001.jpg", "0002.json", "é.jpg", "x" * (90 if name == "ustar" else 130) + ".jpg"]
            for member in names:
                info = tarfile.TarInfo(member)
                info.size = len(photo)
                tar.addfile(info, io.BytesIO(photo))
        seeds[name] = sink.getvalue()
    return seeds


def seeds_of_lists() -> dict[str, bytes]:
    """A Parquet of addresses, plain and compressed."""
    columns = {
        "url": ["https://h/a.jpg", None, "s3://b/c.jpg"],
        "author": ["Ann", "", None],
        "split": ["train", "", "val"],
    }
    table = pa.table(columns)
    seeds = {}
    for compression in ("none", "snappy"):
        sink = io.BytesIO()
        pq.write_table(table, sink, compression=compression)
        seeds[compression] = sink.getvalue()
    return seeds


CREDITS = b'file,title,author,licence,split\na.jpg,"One, two",Ann,CC0,train\nb.jpg,"Q ""x""",,,\n'
REGIONS = b"file,x1,y1,x2,y2\na.jpg,1,2,3,4\nsub/b.jpg,1.5,2,30,40\n"


def read_as_ingest(data: bytes, place: Path) -> str:
    """Decoded as by ingest."""
    return str(decode_photo(data, LIMITS).image.size)


def read_as_scan(data: bytes, place: Path) -> str:
    """Hashed as by the scan of sources."""
    return scan_file(InputFile("a.jpg", {}, lambda: data)).phash


def read_as_crop(data: bytes, place: Path) -> str:
    """Decoded as by crop, from a file."""
    place.write_bytes(data)
    original = Original(place)
    if original.size[0] * original.size[1] <= LIMITS.max_pixels:
        original.small(32)
        original.full()
    return str(original.size)


def read_as_tar(data: bytes, place: Path) -> str:
    """Listed and read as a source, and checked by lint."""
    tar = place.with_name("x-train-000000.tar")
    tar.write_bytes(data)
    for finding in Linter().run(find_shards([str(tar)])):
        finding.line()
    return str(sum(len(item.read()) for item in list_inputs(str(tar))))


def read_as_list(data: bytes, place: Path) -> str:
    """Read as a Parquet of addresses."""
    return str(len(list(rows_of_list(data, "list.parquet"))))


def read_as_credits(data: bytes, place: Path) -> str:
    """Read as credits.csv."""
    return str(len(parse_credits(data, "credits.csv")))


def read_as_regions(data: bytes, place: Path) -> str:
    """Read as the CSV of --keep-file."""
    place.write_bytes(data)
    return str(len(read_regions(str(place))))


READERS: dict[str, tuple[Reader, Callable[[], dict[str, bytes]]]] = {
    "ingest": (read_as_ingest, seeds_of_pictures), "scan": (read_as_scan, seeds_of_pictures),
    "crop": (read_as_crop, seeds_of_pictures), "tar": (read_as_tar, seeds_of_tars), "list": (read_as_list, seeds_of_lists),
    "credits": (read_as_credits, lambda: {"credits": CREDITS}), "regions": (read_as_regions, lambda: {"regions": REGIONS}),
}  # fmt: skip


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one to four changes, more of them near the start, where headers are."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        end = max(1, len(out) if dice.random() < 0.4 else min(len(out), 600))
        at = dice.randrange(end)
        kind = dice.randrange(6)
        if kind == 0:
            out[at : at + 1] = bytes([out[at] ^ (1 << dice.randrange(8))]) if at < len(out) else b"\0"
        elif kind == 1:
            out[at : at + 1] = bytes([dice.randrange(256)])
        elif kind == 2:
            number = dice.choice(_NUMBERS)
            out[at : at + len(number)] = number
        elif kind == 3:
            del out[at : at + dice.randrange(1, 64)]
        elif kind == 4:
            out[at:at] = out[at : at + dice.randrange(1, 64)]
        else:
            del out[at + dice.randrange(len(out) + 1) :]
        if not out:
            break
    return bytes(out)


@dataclass
class FuzzTally:
    """What became of the inputs. ends: by word; broken: (reader, name of the seed, traceback, bytes) of what broke one."""

    ends: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    slowest_s: float = 0.0


class Hang(BaseException):
    """A reader took longer than ``HANG_S``."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise ``Hang`` in this thread when the block takes longer."""

    def late(*args: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def try_one(name: str, seed: str, data: bytes, place: Path, tally: FuzzTally) -> None:
    """One input through one reader."""
    began = time.perf_counter()
    try:
        with within(HANG_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[name][0](data, place)
        word = "read"
    except SampleError as error:
        word = error.reason
    except (ProcropError, OSError) as error:
        word = "refused" if str(error) and "\n" not in str(error) else "no words"
    except (Exception, Hang):  # noqa: BLE001 - this is what is searched for
        word = "broken"
    if word in ("broken", "no words"):
        tally.broken.append((name, seed, traceback.format_exc(), data))
    tally.ends[word] += 1
    tally.slowest_s = max(tally.slowest_s, time.perf_counter() - began)


def fuzz(inputs: int, seed: int, readers: list[str], seconds: float = float("inf")) -> FuzzTally:
    """So many mutated inputs through the readers in turn, the same for the same seed; fewer when the time is over."""
    dice, tally = random.Random(seed), FuzzTally()
    seeds = {name: sorted(READERS[name][1]().items()) for name in readers}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="procrop-fuzz-") as folder:
        for number in range(inputs):
            name = readers[number % len(readers)]
            seed_name, data = dice.choice(seeds[name])
            try_one(name, seed_name, mutated(data, dice), Path(folder) / "input", tally)
            if time.perf_counter() - began > seconds:
                break
    return tally


def main(arguments: list[str]) -> None:
    """Entry point of ``procrop-data bench fuzz``. Ends with exit code 1 when something broke."""
    parser = argparse.ArgumentParser(prog="procrop-data bench fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="repeatable; default: all")
    parser.add_argument("--keep", default="", help="folder for the inputs that broke a reader")
    options = parser.parse_args(arguments)
    tally = fuzz(options.inputs, options.seed, options.reader or list(READERS))
    for number, (name, seed, trace, data) in enumerate(tally.broken):
        print(f"{name} on {seed}: {trace.strip().splitlines()[-1]}")
        if options.keep:
            Path(options.keep).mkdir(parents=True, exist_ok=True)
            (Path(options.keep) / f"{number:04d}-{name}-{seed}").write_bytes(data)
    for line in csv.reader(f"{word},{count}" for word, count in sorted(tally.ends.items())):
        print(f"{line[0]:<12} {line[1]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    env = environment("pillow", "pyarrow")
    finish(
        {
            "bench": "fuzz", "unit": "inputs that broke a reader", "ours": len(tally.broken), "peers": {}, "ratio": {},
            "inputs": sum(tally.ends.values()), "slowest_s": round(tally.slowest_s, 2), "peak_mib": peak, "env": env,
        }
    )  # fmt: skip
    if tally.broken:
        raise SystemExit(1)
