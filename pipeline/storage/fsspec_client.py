"""fsspec's client for a URL, without listing caches (other machines write, too), and with errors that say what to do.

Credentials come from the environment only (the client library's ``AWS_*``, ``GOOGLE_*``, ``FSSPEC_<PROTOCOL>_*``). A password
in a URL is refused, since URLs are printed and recorded.
"""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import fsspec

from pipeline.core.errors import ProcropError, SampleError, StorageError, UsageError
from pipeline.core.json_types import Json
from pipeline.storage.retry import cause_chain, error_code, http_status, is_transient, redacted, with_retries
from pipeline.storage.webhdfs import make_strict

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Result = TypeVar("Result")

S3, GCS, HADOOP = ("s3", "s3a"), ("gs", "gcs"), ("hdfs", "webhdfs", "webHDFS")
EXTRAS = {
    **dict.fromkeys(S3, "pip install 'procrop-data[s3]'"),
    **dict.fromkeys(GCS, "pip install 'procrop-data[gcs]'"),
    "hdfs": "it needs Hadoop's libhdfs, Java and CLASSPATH (docs/storage.md), or use webhdfs://",
}
CLIENTS = {"botocore", "aiobotocore", "aiohttp", "requests", "urllib3", "gcsfs", "google", "adlfs", "azure"}
# Loggers that write signed headers and URLs at level DEBUG.
_DEBUG_LEAKS = (
    "botocore",
    "aiobotocore",
    "s3fs",
    "fsspec",
    "gcsfs",
    "urllib3",
    "webhdfs",
    "google",
    "azure",
    "asyncio",
)


def protocol_of(url: str) -> str:
    """``s3`` of ``s3://bucket/run``; empty for a path of this machine."""
    return url.split("://", 1)[0] if "://" in url else ""


def open_filesystem(url: str, *, fresh: bool = False) -> "tuple[AbstractFileSystem, str]":
    """fsspec's client for a URL and the path within it; no request is made yet. Raises UsageError for an unusable URL.

    Args:
        url: with its protocol, e.g. ``s3://bucket/folder``.
        fresh: make a new client, with the current credentials; else fsspec may give one that this process uses already.
    """
    protocol = protocol_of(url)
    if urlsplit(url).password is not None:
        raise UsageError(
            f"'{redacted(url)}' has a password in it, which would be printed and recorded: leave it out and give it by the "
            f"environment (docs/storage.md; for example FSSPEC_{protocol.upper()}_PASSWORD)"
        )
    for name in _DEBUG_LEAKS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().getEffectiveLevel()))
    try:
        fs, root = fsspec.core.url_to_fs(url, **_options(protocol), **({"skip_instance_cache": True} if fresh else {}))
    except ImportError as error:
        how = EXTRAS.get(protocol, "install the fsspec package for it")
        raise UsageError(
            f"cannot open '{url}': {protocol}:// needs a package that is not installed ({error.name}): {how}"
        ) from error
    except (ValueError, OSError) as error:
        known = "s3://, gs://, webhdfs://, hdfs://, or another of fsspec's"
        how = EXTRAS.get(protocol, f"protocols are {known}")
        raise UsageError(f"cannot open '{url}': {_short(error)}; {how}") from error
    if protocol in S3:
        # botocore retries each request and ``with_retries`` each operation; a third loop would only multiply the waits.
        fs.retries = 1
    if protocol.lower() == "webhdfs":
        make_strict(fs)
    return fs, str(root)


def _options(protocol: str) -> dict[str, Json]:
    """Arguments of fsspec's client. Listings are not cached: another machine may have written meanwhile."""
    options: dict[str, Json] = {}
    if protocol in (*S3, *GCS):
        options["use_listings_cache"] = False
    if protocol in S3 and not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & set(os.environ):
        options["config_kwargs"] = {"retries": {"mode": "standard", "total_max_attempts": 4}}
    if protocol in S3 and _endpoint():
        options["endpoint_url"] = _endpoint()
    return options


def _endpoint() -> str:
    """Read at each call, since fsspec reads its variables once, when it is imported."""
    names = ["FSSPEC_S3_ENDPOINT_URL"]
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        names += ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def call_store(
    where: str, call: Callable[[], Result], also_transient: Callable[[Exception], bool] = lambda error: False
) -> Result:
    """The result of ``call``, with retries. Raises FileNotFoundError, FileExistsError, or an error that says what to do.

    Args:
        where: URL of the file, for the message.
        call: one operation of a client.
        also_transient: of an error, whether to retry although ``is_transient`` says no.
    """
    try:
        return with_retries(call, also_transient=also_transient)
    except (ProcropError, SampleError):
        raise
    except Exception as error:  # noqa: BLE001 - clients raise any class; an unknown error passes unchanged
        if _exists_already(error):
            raise FileExistsError(where) from None
        translated = store_error(error, where)
        if isinstance(translated, FileNotFoundError):
            raise translated from None
        # The cause would be printed with --debug; it is left out when its message holds a secret.
        raise translated from (error if redacted(error) == " ".join(str(error).split()) else None)


def _exists_already(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or any(
        error_code(e) == "PreconditionFailed" or http_status(e) == 412 for e in cause_chain(error)
    )


def store_error(error: Exception, where: str) -> Exception:
    """A client's error as UsageError, StorageError or FileNotFoundError; an unknown error is given back as it is."""
    words = _short(error)
    container = "/".join(where.split("/")[:3])
    codes = {error_code(one) for one in cause_chain(error)}
    if "NoSuchBucket" in codes or (isinstance(error, FileNotFoundError) and "bucket" in words and "exist" in words):
        return UsageError(f"there is no bucket '{container}': create it first, or correct the URL; nothing was written")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(where)
    if (
        isinstance(error, PermissionError)
        or {http_status(one) for one in cause_chain(error)} & {401, 403}
        or _no_key(error)
    ):
        return StorageError(
            f"'{where}' is refused ({words}): the credentials in the environment are wrong, or lack a right on '{container}'; "
            "what was committed is intact, set them right and run the same command again"
        )
    if is_transient(error):
        return StorageError(
            f"'{container}' does not answer as it should ({words}), and all retries failed: "
            "what was committed is intact, run the same command again later"
        )
    if (
        isinstance(error, OSError | ValueError)
        or {type(one).__module__.split(".")[0] for one in cause_chain(error)} & CLIENTS
    ):
        return StorageError(f"'{where}': {words}; what was committed is intact, run the same command again")
    return error


def _short(error: Exception) -> str:
    """The message of an error on one line of at most 300 characters: libhdfs lists every folder without Java."""
    words = redacted(error) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:300]} ..."


def _no_key(error: Exception) -> bool:
    names = {base.__name__ for one in cause_chain(error) for base in type(one).__mro__}
    return bool(
        names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}
    )


def copy_line(url: str, to: str = "COPY") -> str:
    """The shell command that copies a run directory to this machine."""
    protocol = protocol_of(url)
    if protocol in S3:
        return f"aws s3 sync s3://{url.split('://', 1)[1]} {to}"
    if protocol in GCS:
        return f"gcloud storage rsync -r gs://{url.split('://', 1)[1]} {to}"
    if protocol in HADOOP:
        return f"hdfs dfs -get {url} {to}"
    return f"""python -c "import fsspec; fs, path = fsspec.url_to_fs('{url}'); fs.get(path, '{to}', recursive=True)\""""
