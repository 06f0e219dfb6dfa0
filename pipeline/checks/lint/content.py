"""Checks the content of members by extension: images must open, arrays hold no objects, and no file is a pickle."""

import ast
import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.checks.lint.provenance import check_provenance

Report = Callable[[str, str, str], None]
IMAGES = {
    "jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "tiff": "TIFF",
    "ppm": "PPM", "pgm": "PPM", "pbm": "PPM",
}  # fmt: skip
# Extensions that webdataset, torch or joblib unpickle.
PICKLES = {"pkl", "pickle", "pyd", "pth", "pt", "ckpt", "joblib", "dill"}
UNPICKLE = "unpickling runs code of whoever made the file: write npy, json or safetensors"
DAMAGED = "replace the sample, or build the shard again"
# What the parsers of Pillow and NumPy are known to raise on hostile bytes.
PARSER_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    MemoryError, struct.error, zipfile.BadZipFile, Image.DecompressionBombError, Warning,
)  # fmt: skip
LONGEST_NPY_HEADER = 65_536


def check_content(extension: str, data: bytes, report: Report, *, provenance: bool = False) -> None:
    """Check a member by the last part of its extension; never raises for any bytes. JSON is checked by ``json_schema``.

    provenance: check that images say how they came to be.
    """
    last = extension.rsplit(".", 1)[-1].lower()
    if last in PICKLES:
        report("no-pickle", f".{last} is read by unpickling", UNPICKLE)
    elif data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and data[-1:] == b".":
        report("no-pickle", f"the bytes of this .{last} are a pickle", UNPICKLE)
    elif last in IMAGES:
        _check_image(IMAGES[last], data, report, provenance)
    elif last == "npy":
        problem = npy_problem(data)
        if problem:
            report("no-pickle" if "pickle" in problem else "npy", problem, UNPICKLE if "pickle" in problem else DAMAGED)
    elif last == "npz":
        _check_npz(data, report)


def _check_image(kind: str, data: bytes, report: Report, provenance: bool) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                actual, size, packet = image.format, image.size, image.info.get("xmp", b"")
    except PARSER_ERRORS as error:
        report("image", f"does not open as an image: {' '.join(str(error).split(' at 0x')[0].split())[:120]}", DAMAGED)
        return
    if actual != kind and not (actual == "MPO" and kind == "JPEG"):
        report("image", f"is {actual}, its extension says {kind}", "rename it, or convert the image")
    elif min(size) < 1:
        report("image", f"has {size[0]} x {size[1]} pixels", DAMAGED)
    elif kind == "JPEG" and b"\xff\xd9" not in data[-65_536:]:
        report("image", "ends before the JPEG's end mark: it is cut", DAMAGED)
    if provenance:
        check_provenance(packet if isinstance(packet, bytes) else str(packet).encode(), size, report)


def npy_problem(data: bytes) -> str:
    """Why an .npy is not a plain array of its stated size; empty when it is."""
    try:
        if data[:6] != b"\x93NUMPY":
            return "not an .npy file"
        wide = data[6] > 1
        (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
        start = (12 if wide else 10) + length
        if length > LONGEST_NPY_HEADER or start > len(data):
            return "the array's header is cut"
        header = ast.literal_eval(data[start - length : start].decode("utf-8").strip())
        kind = np.lib.format.descr_to_dtype(header["descr"])
        shape = tuple(int(side) for side in header["shape"])
    except (*PARSER_ERRORS, RecursionError) as error:
        return f"the array's header is not readable: {' '.join(str(error).split())[:100]}"
    if kind.hasobject:
        return "an array of Python objects, which is a pickle"
    expected = kind.itemsize
    for side in shape:
        expected *= side
    if expected != len(data) - start or any(side < 0 for side in shape):
        return f"{len(data) - start} bytes of data, shape {shape} of {kind} wants {expected}"
    return ""


def _check_npz(data: bytes, report: Report) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            heads = {info.filename: archive.open(info).read(LONGEST_NPY_HEADER) for info in archive.infolist()[:100]}
    except (*PARSER_ERRORS, NotImplementedError) as error:
        report("npy", f"not an .npz file: {' '.join(str(error).split())[:100]}", DAMAGED)
        return
    for name, head in heads.items():
        if "pickle" in npy_problem(head):
            report("no-pickle", f"{name!r} in it is an array of Python objects, which is a pickle", UNPICKLE)
