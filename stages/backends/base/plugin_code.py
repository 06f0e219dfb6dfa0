"""Code of other packages that a recipe names (plug-ins): how it is imported, and a digest of its version and source."""

import difflib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path

from pipeline.core.seeds import digest_of

# Groups of entry points. A backend's name is ``ROLE.KIND``, because two roles may have a kind of one name.
BACKENDS, STAGES = "procrop_data.backends", "procrop_data.stages"
SOURCE = (".py", ".so", ".pyd")


class PluginError(ValueError):
    """A plug-in cannot be used, and why, in one line."""


@dataclass(frozen=True)
class PluginCode:
    """An object of another package.

    Args:
        address: ``package.module:Name``.
        package: distribution that an entry point belongs to; empty: found by the module's name.
    """

    address: str
    package: str = ""

    def __getstate__(self) -> dict[str, str]:
        return {"address": self.address, "package": self.package}  # each process hashes the source that it runs

    @property
    def module(self) -> str:
        """The module's full name."""
        return self.address.partition(":")[0]

    def load(self) -> Callable[..., object]:
        """The object; raises PluginError when it does not import or is no class or function."""
        name = self.address.partition(":")[2]
        if not all(part.isidentifier() for part in [*self.module.split("."), name]):
            raise PluginError(f"'{self.address}' is no address of a plug-in: give package.module:Name")
        loaded = _imported(self.module)
        if not hasattr(loaded, name):
            close = difflib.get_close_matches(name, vars(loaded), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise PluginError(f"plug-in '{self.address}': its module has no '{name}'{hint}")
        found = getattr(loaded, name)
        if not callable(found):
            raise PluginError(f"plug-in '{self.address}' is a {type(found).__name__}, want a class")
        target: Callable[..., object] = found
        return target

    @cached_property
    def distribution(self) -> tuple[str, str]:
        """Name and version of the installed package; (top module, "") for code that is not installed as one."""
        top = self.module.partition(".")[0]
        for name in filter(None, [self.package, top]):
            try:
                found = distribution(name)
            except PackageNotFoundError:
                continue
            return str(found.metadata["Name"]), found.version
        return _owner(top) or (top, "")

    @property
    def label(self) -> str:
        """Package and version: ``procrop-thirds-0.1.0``."""
        return "-".join(filter(None, self.distribution))

    @cached_property
    def digest(self) -> str:
        """``label`` and a hash of it, the address and all source files of the package; PluginError when it is not importable."""
        files = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in source_files(self.module)}
        return f"{self.label}-{digest_of([self.address, self.label, files])[:16]}"

    def text(self) -> str:
        """Package, version, address and digest, in one line."""
        return f"{' '.join(self.distribution).strip()}, {self.address}, digest {self.digest[-16:]}"


@cache
def _owner(top: str) -> tuple[str, str] | None:
    """Name and version of the distribution that lists a top module among its files. ``packages_distributions`` takes seconds."""
    for each in distributions():
        files = f"\n{each.read_text('RECORD') or ''}"
        if f"\n{top}/" in files or f"\n{top}.py," in files:
            return str(each.metadata["Name"]), each.version
    return None


def _imported(module: str) -> object:
    try:
        return import_module(module)
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(
            f"plug-in module '{module}' does not import ({words}): install its package, or name its folder in PYTHONPATH"
        ) from error


def source_files(module: str) -> Iterator[tuple[str, Path]]:
    """(relative path, file) of the source of a module's package: the outermost one that is no namespace."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        try:
            spec = find_spec(".".join(parts[:depth]))
        except (ImportError, ValueError) as error:
            raise PluginError(f"plug-in module '{module}' does not import: {error}") from error
        if spec is not None and spec.origin is not None:
            break
    else:
        raise PluginError(f"plug-in module '{module}' does not import: there is no such file")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not folders:
        yield Path(spec.origin).name, Path(spec.origin)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in SOURCE:
                yield path.relative_to(folder).as_posix(), path


def installed_plugins(group: str) -> list[tuple[str, PluginCode]]:
    """(name, code) of each entry point of a group, by name; nothing is imported."""
    return sorted(((point.name, _code_of(point)) for point in entry_points(group=group)), key=lambda pair: pair[0])


def plugin_named(group: str, name: str) -> PluginCode | None:
    """The entry point of a name, or None. Raises PluginError when two packages have one of this name."""
    found = {code.address: code for known, code in installed_plugins(group) if known == name}
    if len(found) > 1:
        packages = " and ".join(sorted(code.label for code in found.values()))
        raise PluginError(f"'{name}' is a plug-in of {packages}: uninstall one, or give package.module:Name")
    return next(iter(found.values()), None)


def _code_of(point: EntryPoint) -> PluginCode:
    return PluginCode(point.value, point.dist.name if point.dist is not None else "")
