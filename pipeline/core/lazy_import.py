"""Objects that are imported when they are first used, in the worker that uses them.

A command that only reads receipts, or a worker of a stage without a model, then never pays seconds for torch and diffusers.
"""

from importlib import import_module
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


class LazyImport(Generic[T]):
    """An object of another module, by its address. It can be pickled, and comparing or printing it imports nothing.

    Args:
        address: ``module:name``. The type parameter is the object's type, which the caller states: a string is not checked.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def load(self) -> T:
        """The object; raises ImportError that names what is missing."""
        module, _, name = self.address.partition(":")
        loaded: T = getattr(import_module(module), name)
        return loaded
