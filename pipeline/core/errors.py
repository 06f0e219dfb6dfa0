"""The one tree of errors that users see. Each carries the exit code that the command line ends with.

Messages say what was wrong, the value, and the fix, in one line.
"""


class ProcropError(Exception):
    """Base of every error meant for a user; anything else is a bug and keeps its traceback."""

    exit_code = 1


class UsageError(ProcropError):
    """A wrong option, key, type or value in a command or configuration."""

    exit_code = 2


class MissingUpstreamError(UsageError):
    """A stage was started before its upstream stages are done."""


class RefusedError(ProcropError):
    """The run directory belongs to another configuration, or another process has locked it."""

    exit_code = 4


class HeldError(RefusedError):
    """Another live process holds a shard, or has committed it at the same time: worth another try later."""


class StorageError(ProcropError):
    """The disk is full, read-only or gone; what was committed before is intact."""

    exit_code = 4


class DamagedDataError(ProcropError):
    """Bytes on disk do not match their receipt."""

    exit_code = 5


class OutsidePictureError(DamagedDataError):
    """A labelled box lies far outside its picture: the label is of another picture, or of this one turned or resized."""


class TooManyFailuresError(ProcropError):
    """So many samples failed in a row that the cause is not the samples."""

    exit_code = 3


class ModelError(ProcropError):
    """A model's weights are missing, damaged or of another architecture."""

    exit_code = 2


class InterruptedRunError(ProcropError):
    """SIGINT, SIGTERM or SIGUSR1 arrived; the current micro-batch was finished and saved, so a rerun continues from there."""

    exit_code = 130


class SampleError(Exception):
    """One sample could not be processed; its row records the reason and the run goes on.

    reason: a fixed word, counted in the receipt (for example ``unreadable``).
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason
