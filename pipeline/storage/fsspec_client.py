"""Reaching a file system by URL: fsspec's client for it, without caches that others would make stale, and errors that teach.

Credentials come from the environment alone (that of the client library: ``AWS_*``, ``GOOGLE_*``, ``FSSPEC_<PROTOCOL>_*``). A
password inside a URL is refused, since URLs are printed and recorded.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec

from pipeline.core.errors import ProcropError, StorageError, UsageError
from pipeline.storage.retry import chain_of, code_of, is_transient, patiently, redacted, status_of
from pipeline.storage.webhdfs import make_strict

Result = TypeVar("Result")

S3, GCS, HADOOP = ("s3", "s3a"), ("gs", "gcs"), ("hdfs", "webhdfs", "webHDFS")
EXTRAS = {
    **dict.fromkeys(S3, "pip install 'procrop-data[s3]'"),
    **dict.fromkeys(GCS, "pip install 'procrop-data[gcs]'"),
    "hdfs": "it needs Hadoop's libhdfs, Java and CLASSPATH (docs/storage.md), or use webhdfs://",
}
CLIENTS = {"botocore", "aiobotocore", "aiohttp", "requests", "urllib3", "gcsfs", "google", "adlfs", "azure"}
# At their DEBUG level these write signed headers and URLs.
_TALKATIVE = ("botocore", "aiobotocore", "s3fs", "fsspec", "gcsfs", "urllib3", "webhdfs", "google", "azure", "asyncio")


def protocol_of(url: str) -> str:
    """``s3`` of ``s3://bucket/run``; empty for a path of this machine."""
    return url.split("://", 1)[0] if "://" in url else ""


def connect(url: str, *, fresh: bool = False) -> tuple[Any, str]:
    """fsspec's client for a URL and the path in it; nothing is asked yet. Raises UsageError for what cannot be reached so.

    fresh: a client of its own, with today's credentials; else one may be shared with others of this process.
    """
    protocol = protocol_of(url)
    if urlsplit(url).password is not None:
        raise UsageError(
            f"'{redacted(url)}' has a password in it, which would be printed and recorded: leave it out and give it by the "
            f"environment (docs/storage.md; for example FSSPEC_{protocol.upper()}_PASSWORD)"
        )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().getEffectiveLevel()))
    try:
        fs, root = fsspec.core.url_to_fs(url, **_options(protocol), **({"skip_instance_cache": True} if fresh else {}))
    except ImportError as error:
        how = EXTRAS.get(protocol, "install the fsspec package for it")
        raise UsageError(
            f"cannot open '{url}': {protocol}:// needs a package that is not here ({error.name}): {how}"
        ) from error
    except (ValueError, OSError) as error:
        known = "s3://, gs://, webhdfs://, hdfs://, or another of fsspec's"
        how = EXTRAS.get(protocol, f"protocols are {known}")
        raise UsageError(f"cannot open '{url}': {_short(error)}; {how}") from error
    if protocol in S3:
        fs.retries = (
            1  # botocore tries each request again, ``patiently`` each operation; a third loop only multiplies the waits
        )
    if protocol.lower() == "webhdfs":
        make_strict(fs)
    return fs, str(root)


def _options(protocol: str) -> dict[str, Any]:
    """No listing is kept: another machine may have written meanwhile."""
    options: dict[str, Any] = {}
    if protocol in (*S3, *GCS):
        options["use_listings_cache"] = False
    if protocol in S3 and not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & set(os.environ):
        options["config_kwargs"] = {"retries": {"mode": "standard", "total_max_attempts": 4}}
    if protocol in S3 and _endpoint():
        options["endpoint_url"] = _endpoint()
    return options


def _endpoint() -> str:
    """Asked for here, since fsspec reads its variables when it is imported and keeps a client for whatever address that had."""
    names = ["FSSPEC_S3_ENDPOINT_URL"]
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        names += ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def asking(where: str, call: Callable[[], Result], also: Callable[[Exception], bool] = lambda error: False) -> Result:
    """What ``call`` gives, with patience. Raises FileNotFoundError, FileExistsError, or an error that says what to do."""
    try:
        return patiently(call, also=also)
    except ProcropError:
        raise
    except Exception as error:  # noqa: BLE001 - clients raise what they like; a bug of ours keeps its words and its cause
        if _exists_already(error):
            raise FileExistsError(where) from None
        told = explained(error, where)
        if isinstance(told, FileNotFoundError):
            raise told from None
        # The cause would be printed with --debug; it is left out where its words hold a secret.
        raise told from (error if redacted(error) == " ".join(str(error).split()) else None)


def _exists_already(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or any(
        code_of(e) == "PreconditionFailed" or status_of(e) == 412 for e in chain_of(error)
    )


def explained(error: Exception, where: str) -> Exception:
    """The error of ours that a client's error stands for."""
    words = _short(error)
    container = "/".join(where.split("/")[:3])
    codes = {code_of(one) for one in chain_of(error)}
    if "NoSuchBucket" in codes or (isinstance(error, FileNotFoundError) and "bucket" in words and "exist" in words):
        return UsageError(f"there is no bucket '{container}': create it first, or correct the URL; nothing was written")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(where)
    if isinstance(error, PermissionError) or {status_of(one) for one in chain_of(error)} & {401, 403} or _no_key(error):
        return StorageError(
            f"'{where}' is refused ({words}): the credentials in the environment are wrong, or lack a right on '{container}'; "
            "what was committed is intact, set them right and run the same command again"
        )
    if is_transient(error):
        return StorageError(
            f"'{container}' does not answer as it should ({words}), tried again for a while in vain: "
            "what was committed is intact, run the same command again later"
        )
    if (
        isinstance(error, OSError | ValueError)
        or {type(one).__module__.split(".")[0] for one in chain_of(error)} & CLIENTS
    ):
        return StorageError(f"'{where}': {words}; what was committed is intact, run the same command again")
    return error


def _short(error: Exception) -> str:
    """What an error says, in a line that can be read: libhdfs names every folder that has no Java."""
    words = redacted(error) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:300]} ..."


def _no_key(error: Exception) -> bool:
    names = {base.__name__ for one in chain_of(error) for base in type(one).__mro__}
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
