"""Between the precision that a network computes in and the one that its results are read in."""

from dataclasses import fields, replace
from typing import Any

from torch import Tensor


def in_fp32(found: Any) -> Any:
    """A tree of dataclasses with its floating-point tensors in fp32."""
    if isinstance(found, Tensor):
        return found.float() if found.is_floating_point() else found
    if hasattr(found, "__dataclass_fields__"):
        return replace(found, **{field.name: in_fp32(getattr(found, field.name)) for field in fields(found)})
    return found
