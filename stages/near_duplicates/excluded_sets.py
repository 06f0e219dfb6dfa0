"""Folders whose pictures must have no near-duplicate in the dataset: the test sets of benchmarks."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import SampleError, UsageError
from pipeline.core.records import Signature
from pipeline.core.seeds import digest_of
from stages.backends.base.protocols import Encoder
from stages.near_duplicates.similarity import signature_of
from stages.photos.decode import PhotoLimits, decode_photo
from stages.photos.list_access import REFUSED
from stages.photos.source_readers import InputFile, list_inputs

# Whatever a test set holds is compared if it can be decoded at all.
ANYTHING = PhotoLimits(min_side=8, max_side=65_535, max_pixels=178_956_970, max_aspect=1000)


def excluded_files(folders: Sequence[str]) -> list[tuple[str, InputFile]]:
    """(folder, file) of all pictures; raises UsageError for a folder that is not there or has none."""
    files: list[tuple[str, InputFile]] = []
    for folder in folders:
        try:
            items = sorted(list_inputs(folder), key=lambda item: item.uri)
        except (UsageError, OSError) as error:
            raise UsageError(
                f"--exclude-near '{folder}': no such folder; give the folder, glob, .parquet of URLs or .tar of a test set"
            ) from error
        if not items:
            raise UsageError(
                f"--exclude-near '{folder}': no picture there, so nothing would be excluded; is it the right folder?"
            )
        files += [(folder, item) for item in items]
    return files


def excluded_digest(folders: Sequence[str]) -> str:
    """Digest of the names and bytes of all pictures. Raises UsageError as ``excluded_files`` does."""
    return digest_of([[folder, item.uri, _sha256(item)] for folder, item in excluded_files(folders)])


def excluded_signatures(folders: Sequence[str], encoder: Encoder) -> tuple[list[Signature], list[str]]:
    """Signatures of the pictures, and the addresses of those that cannot be decoded and so are not compared."""
    known: list[Signature] = []
    unreadable: list[str] = []
    for folder, item in excluded_files(folders):
        uri = item.uri if item.uri.startswith(folder) else f"{folder.rstrip('/')}/{item.uri}"
        try:
            image = np.asarray(decode_photo(item.read(), ANYTHING).image)
        except (SampleError, OSError) as error:
            unreadable.append(f"{uri}: {error}")
            continue
        known.append(signature_of("", uri, "", image, encoder.encode([image])[0].vector))
    return known, unreadable


def _sha256(item: InputFile) -> str:
    try:
        return hashlib.sha256(item.read()).hexdigest()
    except SampleError as error:
        if error.reason == REFUSED:  # a test set that is not compared guards nothing
            raise UsageError(f"--exclude-near: {item.uri}: {error}; or give the folder or glob itself") from error
        return ""
    except OSError:
        return ""
