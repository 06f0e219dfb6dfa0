"""Checkpoints on disk: finding a folder or hub id, choosing the files that are loaded, their digest, errors that say what to do."""

import contextlib
import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from pipeline.core.lazy_import import LazyImport

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

M = TypeVar("M", bound="PreTrainedModel")
SNAPSHOT: LazyImport[Callable[..., str]] = LazyImport("huggingface_hub:snapshot_download")
OUT_OF_MEMORY: LazyImport[type[BaseException]] = LazyImport("torch:OutOfMemoryError")
SAFETENSOR_ERROR: LazyImport[type[BaseException]] = LazyImport("safetensors:SafetensorError")
QUIET: tuple[LazyImport[Callable[[], None]], ...] = (
    LazyImport("transformers.utils.logging:disable_progress_bar"),
    LazyImport("transformers.utils.logging:set_verbosity_error"),  # missing weights become an error in ``pretrained``
)
TABLES = {".json", ".txt", ".model", ".tiktoken", ".jinja"}
SAFE, PICKLED = ".safetensors", {".bin", ".pt", ".pth", ".ckpt"}
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)(?=[.-])")


def locate(model: str, revision: str = "") -> Path:
    """The folder or file of a checkpoint: a path, or a hub id whose snapshot is in the hub's cache of this machine.

    Nothing is downloaded, so that no worker spends hours on a download. Raises ModelError with the download command.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    if is_hub_id(model):
        with contextlib.suppress(OSError, ValueError):  # the hub's own errors are of these classes
            return Path(SNAPSHOT.load()(model, revision=revision or None, local_files_only=True))
        at = f" --revision {revision}" if revision else ""
        raise ModelError(
            f"the model '{model}' is not on this machine: download it once with 'hf download {model}{at}', or give a folder"
        )
    if is_file_name(model):
        raise ModelError(f"there is no file '{model}': put it there, or give its path")
    raise ModelError(f"no model at '{model}': give a folder in the hub's layout, or a hub id (owner/name)")


def is_hub_id(model: str) -> bool:
    """Whether a checkpoint is named as on the hub, owner/name, and not by a path."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model)) and not is_file_name(model) and not Path(model).exists()


def is_file_name(model: str) -> bool:
    """Whether a checkpoint is a file of weights, by its name."""
    return Path(model).suffix in {SAFE, *PICKLED}


def files_of(folder: Path, variant: str = "") -> list[Path]:
    """The files of a checkpoint that are loaded, sorted: configurations, tokenizers, and one form of the weights a folder.

    Safetensors are preferred to pickles; ``variant`` (``fp16``) to plain weights where a folder has it.
    """
    if folder.is_file():
        return [folder]
    files: list[Path] = []
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(home) / name for name in sorted(names) if not name.startswith(".")]
        files += [path for path in paths if path.suffix in TABLES]
        # Weights beside a pipeline's index are the same model in one file, for other programs.
        if "model_index.json" not in names:
            files += _weights(paths, variant)
    return sorted(files)


def _weights(paths: list[Path], variant: str) -> list[Path]:
    safe = [path for path in paths if path.suffix == SAFE]
    weights = safe or [path for path in paths if path.suffix in PICKLED]
    wanted = [path for path in weights if f".{variant}." in path.name] if variant else []
    return wanted or [path for path in weights if not _VARIANT.search(path.name)] or weights


def weights_digest(folder: Path, variant: str = "") -> str:
    """16 hex digits over names and contents of ``files_of``; a file is hashed again only when its size, time or inode changed."""
    digest = hashlib.sha256()
    cache = _DigestCache()
    for path in files_of(folder, variant):
        name = path.name if folder.is_file() else path.relative_to(folder).as_posix()
        digest.update(f"{name}\x00{cache.digest(path)}\n".encode())
    cache.save()
    return digest.hexdigest()[:16]


class _DigestCache:
    """sha256 of files by path, size, time and inode, kept between commands: gigabytes are read once."""

    def __init__(self) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self._path = Path(home).expanduser() / "procrop" / "digests.json"
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(self._path.read_text(encoding="utf-8"))

    def digest(self, path: Path) -> str:
        real = path.resolve()
        stat = real.stat()
        stamp: list[int | str] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(real))
        if known is None or known[:3] != stamp:
            with open(real, "rb") as file:
                known = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            self._known[str(real)] = known
            self._changed = True
        return str(known[3])

    def save(self) -> None:
        """Write the cache; without a writable folder, files are hashed again next time."""
        if self._changed:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                aside = self._path.with_suffix(f".{os.getpid()}")
                aside.write_text(json.dumps(self._known), encoding="utf-8")
                aside.replace(self._path)


def read_config(folder: Path, name: str) -> JsonObject:
    """A JSON file of a checkpoint; raises ModelError when it is missing or holds no JSON object."""
    path = folder / name
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"'{folder}' has no {name}: is it a checkpoint in the hub's layout?") from error
    except ValueError as error:
        raise ModelError(f"'{path}' is not JSON ({error}): download it again") from error
    if not isinstance(body, dict):
        raise ModelError(f"'{path}' must hold a JSON object: download it again")
    return body


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn what public libraries raise for bad checkpoints into one ModelError. Out of memory is not the checkpoint's fault."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, OUT_OF_MEMORY.load()):
            raise
        raise ModelError(f"{what} does not load: {_first_words(error)}") from error
    except SAFETENSOR_ERROR.load() as error:
        raise ModelError(f"{what} does not load: a weights file is cut or damaged ({error}); get it again") from error


def _first_words(error: BaseException) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "a pickle that holds more than weights is refused; convert it to safetensors"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def pretrained(
    kind: type[M], folder: Path, what: str, *, dtype: "torch.dtype", device: str = "cpu", variant: str = ""
) -> M:
    """A transformers model in inference mode, of which every weight came from the checkpoint.

    transformers only warns when weights are missing and leaves them random; that is a ModelError here.

    Args:
        kind: the model's class.
        folder: of the checkpoint.
        what: the model in words, for errors: ``the captioner``.
        dtype: of the weights in memory.
        device: that the model is moved to.
        variant: of the files, such as ``fp16``; empty for the plain ones.
    """
    for silence in QUIET:
        silence.load()()
    options = {"dtype": dtype, "local_files_only": True, **({"variant": variant} if variant else {})}
    load: Any = kind.from_pretrained  # with output_loading_info it returns a pair, which its type does not say
    with loading(f"{what} in '{folder}'"):
        loaded = load(folder, output_loading_info=True, **options)
    model: M = loaded[0].eval().to(device)
    keys: Mapping[str, Collection[object]] = loaded[1]
    lacking = [str(key) for name in ("missing_keys", "mismatched_keys") for key in sorted(keys.get(name, ()), key=str)]
    if lacking:
        raise ModelError(
            f"{what} in '{folder}' lacks {len(lacking)} weights of a {kind.__name__}, '{lacking[0]}' first: "
            "it is damaged or of another architecture"
        )
    return model
