"""Base of every settings class: frozen, no unknown keys, JSON in and out."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Parameters of one stage or model. Raises pydantic.ValidationError for a wrong key, type or value."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
