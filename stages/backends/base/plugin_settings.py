"""Settings of plug-ins: a class whose keys are the parameters of the plug-in's constructor, made when a recipe names it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError

from pipeline.core.settings import Settings
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.plugin_code import PluginCode, PluginError, plugin_named

S = TypeVar("S", bound=Settings)
T = TypeVar("T")
DEFAULTS_CHECKED = ConfigDict(validate_default=True)  # a constructor's default may not be of the type that it states


def made_of(code: PluginCode, settings: BaseModel, own: Collection[str] = ("kind",)) -> object:
    """What a plug-in's constructor makes of the settings but for the keys ``own``, which are ours. Raises PluginError."""
    given = {name: getattr(settings, name) for name in type(settings).model_fields if name not in own}
    return guarded(lambda: code.load()(**given), code)


def guarded(make: Callable[[], T], code: PluginCode) -> T:
    """What ``make`` gives; PluginError, in one line, for whatever the code of a plug-in raises."""
    try:
        return make()
    except PluginError:
        raise
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"plug-in '{code.address}' cannot be made ({words})") from error


def settings_class(code: PluginCode, kind: str, base: type[S], own: type[S]) -> type[S]:
    """The settings class of a plug-in. Raises PluginError when it does not import or has parameters that no recipe can give.

    Args:
        code: of the plug-in.
        kind: that the recipe names it by.
        base: of the class that is made, where the plug-in is a class or function with parameters.
        own: the same where the plug-in is a settings class.
    """
    target = code.load()
    is_settings = isinstance(target, type) and issubclass(target, BackendSettings)
    bases = (own, cast("type[S]", target)) if is_settings else (base,)
    fields = (
        {"kind": (Literal[kind], kind)} if is_settings else {**_parameters(target, code), "kind": (Literal[kind], kind)}
    )
    try:
        settings = _created(getattr(target, "__name__", "Plugin"), bases, target.__doc__, fields)
    except PydanticUserError as error:
        raise PluginError(f"plug-in '{code.address}' has a parameter of a type that no recipe can give") from error
    settings.code = code  # type: ignore[attr-defined]
    return settings


def _created(name: str, bases: tuple[type[S], ...], doc: str | None, fields: Mapping[str, Any]) -> type[S]:
    return create_model(name, __base__=bases, __doc__=doc, **fields)


def _parameters(target: Callable[..., object], code: PluginCode) -> Mapping[str, Any]:
    """Name -> (type, default) of the parameters of a constructor."""
    try:
        known = inspect.signature(target, eval_str=True).parameters.values()
    except (ValueError, TypeError, NameError) as error:
        raise PluginError(f"plug-in '{code.address}': its parameters cannot be read ({error})") from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        one.name: (
            object if one.annotation is one.empty else one.annotation, ... if one.default is one.empty else one.default,
        )
        for one in known if one.kind in named
    }  # fmt: skip


def code_named(group: str, kind: object, name: str) -> PluginCode | None:
    """The plug-in that a ``kind`` names: an address, or the entry point ``name``; None for neither."""
    if not isinstance(kind, str):
        return None
    return PluginCode(kind) if ":" in kind else plugin_named(group, name)


def validated(settings: type[S], given: object) -> S:
    """The settings of a plug-in; a mistake in them is raised with their class, so that an error can tell what is allowed."""
    try:
        return settings.model_validate({"kind": given} if isinstance(given, str) else given)
    except ValidationError as error:
        raise PydanticCustomError(
            "plugin", "wrong settings of a plug-in", {"settings": settings, "error": error}
        ) from None


def kind_given(given: object) -> object:
    """The ``kind`` of a mapping of settings, or a word that stands for one."""
    return given.get("kind") if isinstance(given, Mapping) else given
