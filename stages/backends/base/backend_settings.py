"""The base of every backend's settings: its kind, where it computes, and how it is built."""

from pipeline.core.settings import Settings
from stages.backends.base.protocols import Model


class BackendSettings(Settings):
    """What the registry, the worker count and ``doctor`` read of a backend without building it.

    Args:
        kind: name of the backend in a recipe; each class narrows it to its own names.
    """

    kind: str

    @property
    def runs_on(self) -> str:
        """``auto``, ``cpu``, ``cuda`` or ``cuda:N``: the device setting, ``cpu`` for a backend without one."""
        return "cpu"

    @property
    def uses_gpu(self) -> bool:
        """Whether the model computes on a GPU where the machine has one."""
        return self.runs_on != "cpu"

    def build(self) -> Model | None:
        """The backend, with nothing loaded yet; None for a role that is left empty."""
        raise NotImplementedError


class DeviceSettings(BackendSettings):
    """Settings of a backend that can compute on a GPU.

    Args:
        device: ``auto`` (a GPU for each worker where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    """

    device: str = "auto"

    @property
    def runs_on(self) -> str:
        """The device setting."""
        return self.device
