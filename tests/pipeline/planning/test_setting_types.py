"""Types of settings in words."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipeline.planning.setting_types import any_of, kinds_of, model_of_kind, type_text, value_text
from stages.backends.registry import ModelSettings
from stages.backends.scorers.aesthetic import AestheticSettings


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[int, Field(ge=1, le=100_000)], "a whole number, 1 to 100,000"),
        (Annotated[float, Field(gt=0, lt=1)], "a number, above 0, below 1"),
        (Annotated[float, Field(ge=0)], "a number, 0 or more"),
        (Annotated[int, Field(ge=64, multiple_of=32)], "a whole number, 64 or more, a multiple of 32"),
        (Annotated[str, Field(pattern=r"^[a-z]+$", max_length=40)], "text, of at most 40 characters, of the characters a-z"),
        (Literal["", "square", "fit"], "nothing, square or fit"),
        (bool | None, "true or false or null"),
        (tuple[float, float], "two numbers"),
        (tuple[Annotated[float, Field(gt=0)], ...], "a list of numbers, each above 0"),
        (dict[Literal["train", "val"], Annotated[float, Field(ge=0)]], "a mapping of train or val to number, 0 or more"),
        (Literal["auto"] | int, "auto or a whole number"),
    ],
)  # fmt: skip
def test_types_are_words(annotation, text):
    assert type_text(annotation) == text


def test_a_role_is_its_backends():
    role = ModelSettings.model_fields["scorer"].annotation
    assert kinds_of(role) == ["composition", "laion", "siglip", "nima", "ensemble"]
    assert model_of_kind(role, "siglip") is AestheticSettings and model_of_kind(role, "x") is None
    assert type_text(role) == "a backend: composition, laion, siglip, nima or ensemble"


def test_values_are_as_an_override_states_them():
    assert [value_text(value) for value in ("", "a b", 5, None, [1, 2], True)] == [
        '""', "a b", "5", "null", "[1, 2]", "true"
    ]  # fmt: skip
    assert any_of(["a"]) == "a"
