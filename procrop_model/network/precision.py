"""Between the precision that a network computes in and the one that its results are read in."""

from dataclasses import fields, replace
from typing import Any

from torch import Tensor


def in_fp32(value: Any) -> Any:
    """A tree of dataclasses with its floating-point tensors in fp32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{field.name: in_fp32(getattr(value, field.name)) for field in fields(value)})
    return value
