"""Stages of other packages (plug-ins): their settings in a recipe, and their place among its stages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import ClassVar

from pydantic import PlainValidator

from pipeline.core.errors import UsageError
from pipeline.core.settings import Settings
from pipeline.core.stage import Stage
from stages.backends.base.plugin_code import STAGES, PluginCode, PluginError
from stages.backends.base.plugin_settings import (
    DEFAULTS_CHECKED,
    code_named,
    kind_given,
    made_of,
    settings_class,
    validated,
)

BEFORE = ("caption", "outpaint", "propose", "filter")  # stages that may lose samples: those after them join rows by key
OWN = ("kind", "before")


@dataclass(frozen=True)
class _Key:
    """The only column that a stage reads of one that it runs after."""

    key: str


class PluginStageSettings(Settings):
    """Settings of a stage of another package; the keys beside these are the parameters of its constructor.

    Args:
        kind: ``package.module:Name``, or the name of an entry point.
        before: stage that does not see the samples which this one drops; empty: it drops none for the others.
    """

    model_config = DEFAULTS_CHECKED
    code: ClassVar[PluginCode]
    kind: str
    before: str = ""

    def build(self) -> Stage:
        """The stage. Raises PluginError when it cannot be made or is no stage."""
        stage = made_of(self.code, self, OWN)
        if not isinstance(stage, Stage):
            raise PluginError(
                f"plug-in '{self.code.address}' is no Stage: it must be a subclass of pipeline.core.stage.Stage"
            )
        if not re.fullmatch(r"[a-z0-9_-]+", getattr(stage, "name", "")) or not is_dataclass(
            getattr(stage, "record", None)
        ):
            raise PluginError(
                f"plug-in '{self.code.address}' lacks a name of the characters a-z0-9_- or a record that is a dataclass"
            )
        stage.plugin = self.code
        return stage


def _chosen_stage(given: object) -> PluginStageSettings:
    if isinstance(given, PluginStageSettings):
        return given
    kind = kind_given(given)
    code = code_named(STAGES, kind, str(kind))
    if code is None:
        raise PluginError(f"'{kind}' is no plug-in: give package.module:Name, or an entry point of '{STAGES}'")
    settings = validated(settings_class(code, str(kind), PluginStageSettings, PluginStageSettings), given)
    if settings.before not in ("", *BEFORE):
        raise PluginError(f"before '{settings.before}': give {', '.join(BEFORE)} or nothing")
    settings.build()  # what it lacks is said before anything is written
    return settings


PLUGIN_STAGE = PlainValidator(_chosen_stage)


def credit_of(settings: PluginStageSettings) -> tuple[str, str, str]:
    """(role, name, licence) of a stage's code, for the dataset's card."""
    stage = settings.build()
    return f"stage {stage.name}", f"plug-in {settings.code.label}", str(getattr(stage, "licence", "not stated"))


def with_plugins(stages: Sequence[Stage], chosen: Sequence[PluginStageSettings]) -> list[Stage]:
    """The stages of a recipe with those of plug-ins, each after all that it reads.

    Raises UsageError for a name that is taken, for one that reads a stage which is not there, and for a wrong ``before``.
    """
    out = list(stages)
    for settings in chosen:
        stage, names = settings.build(), [one.name for one in out]
        where = f"stages: plug-in '{settings.kind}'"
        if stage.name in {name for one in out for name in (one.name, one.verb)}:
            raise UsageError(f"{where} has the name of another stage, '{stage.name}'")
        unknown = [name for name in stage.upstream if name not in names]
        if unknown or not stage.upstream:
            raise UsageError(f"{where} reads '{', '.join(unknown)}': want names of stages, among {', '.join(names)}")
        place = 1 + max(names.index(name) for name in stage.upstream)
        out.insert(place, stage)
        if settings.before:
            _hide(stage, settings, {one.name: one for one in out[place + 1 :]})
    return out


def _hide(stage: Stage, settings: PluginStageSettings, later: Mapping[str, Stage]) -> None:
    """Let the stage named ``before`` read which samples ``stage`` kept."""
    reader = later.get(settings.before)
    if reader is None:
        raise UsageError(
            f"stages: plug-in '{settings.kind}' cannot run before {settings.before}: it reads a later stage"
        )
    reader.upstream = (*reader.upstream, stage.name)
    reader.hidden_by = (*reader.hidden_by, stage.name)
    if reader.reads:
        reader.reads = {**reader.reads, stage.name: (_Key,)}
