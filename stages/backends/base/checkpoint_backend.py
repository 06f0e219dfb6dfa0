"""What backends of public checkpoints share: who they are, and an engine that loads on first use, in the worker that uses it."""

from typing import Any, ClassVar, Generic, TypeVar

from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import DeviceSettings
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.lazy_import import engine


class CheckpointSettings(DeviceSettings):
    """model: a folder, a file or a hub id that was downloaded; revision: of the hub; licence: of the weights."""

    model: str
    revision: str = ""
    licence: str


S = TypeVar("S", bound=CheckpointSettings)


class FromCheckpoint(Generic[S]):
    """engine_at: ``module:class`` of what loads and runs the network, made of the settings.

    code_version: raised whenever the same input gives other output. name and licence are those of the protocol.
    """

    engine_at: ClassVar[str]
    code_version: ClassVar[int] = 1

    def __init__(self, name: str, settings: S) -> None:
        self.name, self.licence = name, settings.licence
        self._settings = settings
        self._engine: Any = None
        self._digest = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    @property
    def digest(self) -> str:
        """Of the weights' files, what shapes the output, and the code version; ModelError when a checkpoint is missing."""
        if not self._digest:
            told = {"code": self.code_version, "settings": self._told(), "weights": self._weights()}
            self._digest = digest_of(told)[:16]
        return self._digest

    def _told(self) -> dict[str, Any]:
        """Settings that shape the output: all but where it is computed and what the files' own digest says."""
        return self._settings.model_dump(mode="json", exclude={"device", "model", "licence"})

    def _weights(self) -> Any:
        """Digests of the files that are loaded."""
        return weights_digest(locate(self._settings.model, self._settings.revision))

    def _loaded(self) -> Any:
        if self._engine is None:
            self._engine = engine(self.engine_at)(self._settings)
        return self._engine
