"""Types of JSON: what ``json.dumps`` takes and ``json.loads`` gives."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

# The containers are read-only types because ``dict`` and ``list`` are invariant: a ``dict[str, int]`` is not a
# ``dict[str, Json]``, but it is a ``Mapping[str, Json]``.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]
