"""What backends of public checkpoints share: a digest of files and settings, and an engine that each worker loads on first use."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from pipeline.core.json_types import Json
from pipeline.core.lazy_import import LazyImport
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import DeviceSettings
from stages.backends.base.checkpoint_files import locate, weights_digest


class CheckpointSettings(DeviceSettings):
    """Settings of a backend that loads a public checkpoint.

    Args:
        model: a folder, a file, or a hub id that was downloaded.
        revision: branch, tag or commit of the hub id; empty for its default branch.
        licence: of the weights, as the dataset's card states it.
    """

    model: str
    revision: str = ""
    licence: str


# Names of earlier versions, which digests were made with: a run directory of that time goes on with the same digest.
RECORDED_AS = {
    "num_inference_steps": "steps", "guidance_scale": "guidance", "controlnet_conditioning_scale": "control_scale",
    "num_beams": "beams", "max_new_tokens": "max_tokens",
}  # fmt: skip

S = TypeVar("S", bound=CheckpointSettings)
E = TypeVar("E")


class FromCheckpoint(Generic[S, E]):
    """A backend with settings of type ``S`` and an engine of type ``E``, which loads and runs the network.

    Args:
        name: of the backend, as ``Model.name``.
        settings: what the engine is made of.
        engine: the engine's class.
    """

    code_version: ClassVar[int] = 1  # raised whenever the same input gives other output

    def __init__(self, name: str, settings: S, engine: LazyImport[Callable[[S], E]]) -> None:
        self.name, self.licence = name, settings.licence
        self._settings, self._engine_class = settings, engine
        self._engine: E | None = None
        self._digest = ""

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_engine": None}

    @property
    def digest(self) -> str:
        """Of the weights' files, the settings that shape the output, and the code version; ModelError without the checkpoint."""
        if not self._digest:
            settings = {RECORDED_AS.get(name, name): value for name, value in self._identity().items()}
            identity = {"code": self.code_version, "settings": settings, "weights": self._weights()}
            self._digest = digest_of(identity)[:16]
        return self._digest

    def _identity(self) -> Mapping[str, Json]:
        """Settings that shape the output: all but the device and what the digest of the files covers."""
        return self._settings.model_dump(mode="json", exclude={"device", "model", "licence"})

    def _weights(self) -> str | Sequence[str]:
        """Digests of the files that are loaded."""
        return weights_digest(locate(self._settings.model, self._settings.revision))

    def _loaded(self) -> E:
        if self._engine is None:
            self._engine = self._engine_class.load()(self._settings)
        return self._engine
