"""Models of plug-ins: their settings in a recipe, and the model in a wrapper whose digest covers the plug-in's code."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import PlainValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from typing_extensions import get_protocol_members

from pipeline.core.errors import ModelError, ProcropError
from pipeline.core.json_types import JsonObject
from pipeline.core.seeds import digest_of
from stages.backends.base import protocols
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.picture import Maps, MaskGrid
from stages.backends.base.plugin_code import BACKENDS, PluginCode, PluginError
from stages.backends.base.plugin_settings import (
    DEFAULTS_CHECKED,
    code_named,
    guarded,
    kind_given,
    made_of,
    settings_class,
    validated,
)
from stages.backends.base.protocols import Image, Perceiving

PROTOCOLS: Mapping[str, type] = {
    "captioner": protocols.Captioner, "outpainter": protocols.Outpainter, "segmenter": protocols.Segmenter,
    "scorer": protocols.Scorer, "encoder": protocols.Encoder, "composer": protocols.Composer,
    "faces": protocols.FaceFinder, "proposer": protocols.BoxProposer,
}  # fmt: skip


class PluginSettings(BackendSettings):
    """Settings of a model of another package. A subclass is made for each: with the keys of its constructor, or of its settings.

    Args:
        kind: ``package.module:Name``, or the name of an entry point.
    """

    role: ClassVar[str]
    code: ClassVar[PluginCode]

    def build(self) -> Any:
        """The model in its wrapper. Raises PluginError when it cannot be made or lacks a part of its role's protocol."""
        model = self._made()
        _require_protocol(model, self.role, self.code)
        return (PerceivingPluginModel if isinstance(model, Perceiving) else PluginModel)(self, model)

    def _made(self) -> object:
        return guarded(super().build, self.code)  # of the plug-in's own settings class


class _ByParameters(PluginSettings):
    """The same where the plug-in is a class that is made with the settings as its arguments."""

    model_config = DEFAULTS_CHECKED

    @property
    def runs_on(self) -> str:
        """Its parameter ``device``; ``cpu`` without one."""
        return str(getattr(self, "device", "cpu"))

    def _made(self) -> object:
        return made_of(self.code, self)


def _require_protocol(model: object, role: str, code: PluginCode) -> None:
    protocol = PROTOCOLS[role]
    lacking = [name for name in sorted(get_protocol_members(protocol)) if not hasattr(type(model), name)]
    lacking = [name for name in lacking if name not in getattr(model, "__dict__", {})]
    if lacking:
        words = ", ".join(f"{name}()" if callable(getattr(protocol, name, None)) else name for name in lacking)
        raise PluginError(f"plug-in '{code.address}' is no {protocol.__name__}: it lacks {words}")


class PluginModel:
    """A model of another package. All but its digest, and how it is pickled, are its own.

    Args:
        settings: that it was made of; another process makes it of them again.
        model: the plug-in's object.
    """

    def __init__(self, settings: PluginSettings, model: object) -> None:
        self._settings, self._model = settings, model
        self.code = settings.code

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self._settings.role, self._settings.model_dump(mode="json"))

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["_model"], name)

    @property
    def digest(self) -> str:
        """Package, version, and a hash of the plug-in's code, the settings without ``device``, and its own digest."""
        settings = self._settings.model_dump(mode="json", exclude={"device", "kind"})
        return f"{self.code.label}-{self._hash([self.code.digest, settings, self._own('digest')])}"

    def _own(self, name: str) -> str:
        """A digest that the plug-in states. ModelError for what it raises."""
        try:
            value = getattr(self._model, name)
            return str(value() if callable(value) else value)
        except ProcropError:
            raise
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(f"plug-in '{self.code.address}' gives no {name} ({words})") from error

    @staticmethod
    def _hash(parts: Sequence[object]) -> str:
        return digest_of(list(parts))[:16]


class PerceivingPluginModel(PluginModel):
    """The same of a scorer that implements ``Perceiving``."""

    def digest_of_maps(self) -> str:
        """Of the plug-in's code and its maps; empty when it has none."""
        own = self._own("digest_of_maps")
        return self._hash([self.code.digest, own]) if own else ""

    def perceive(self, images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str) -> list[Maps]:
        """The plug-in's maps."""
        assert isinstance(self._model, Perceiving)
        return self._model.perceive(images, masks, segmenter)


def _again(role: str, settings: JsonObject) -> PluginModel:
    chosen = chosen_plugin(role, settings)
    assert chosen is not None
    model = chosen.build()
    assert isinstance(model, PluginModel)
    return model


def chosen_plugin(role: str, given: object) -> PluginSettings | None:
    """The settings of the plug-in that a role's settings name; None where they name none. Raises PluginError."""
    kind = kind_given(given)
    code = code_named(BACKENDS, kind, f"{role}.{kind}")
    if code is None:
        return None
    settings = settings_class(code, str(kind), _ByParameters, PluginSettings)
    settings.role = role
    return validated(settings, given)


def _validate(role: str, given: object, handler: ValidatorFunctionWrapHandler) -> object:
    """The role's own backends first: an entry point does not replace one of them."""
    if isinstance(given, PluginSettings) and given.role == role:
        return given
    try:
        return handler(given)
    except ValidationError as error:
        chosen = chosen_plugin(role, given) if _is_unknown_kind(error) else None
        if chosen is None:
            raise
    chosen.build()  # what it lacks is said before anything is written
    return chosen


def _is_unknown_kind(error: ValidationError) -> bool:
    return not error.errors()[0]["loc"] and error.errors()[0]["type"] == "union_tag_invalid"


def _validate_plugin(role: str, given: object) -> object:
    chosen = given if given is None or isinstance(given, PluginSettings) else chosen_plugin(role, given)
    if chosen is None and given is not None:
        raise PluginError(
            f"'{kind_given(given)}' is no plug-in: give package.module:Name, or an entry point of '{BACKENDS}'"
        )
    if isinstance(chosen, PluginSettings):
        chosen.build()
    return chosen


def pluggable(role: str) -> WrapValidator:
    """Makes a role take plug-ins beside its own backends. With ``SerializeAsAny`` on its type, all their keys are written."""
    return WrapValidator(partial(_validate, role))


def plugin_only(role: str) -> PlainValidator:
    """The same for a role that has no backends of its own."""
    return PlainValidator(partial(_validate_plugin, role))
