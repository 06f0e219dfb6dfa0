import pickle

import pytest
from pydantic import ValidationError

from stages.backends.base.backend_settings import BackendSettings
from stages.backends.registry import ModelSettings, models_of

ROLES = tuple(ModelSettings.model_fields)


def test_each_role_has_settings_that_build_its_model():
    settings = ModelSettings()
    assert all(isinstance(settings.of_role(role), BackendSettings) for role in ROLES)
    models = models_of(settings)
    assert [role for role in ROLES if getattr(models, role) is None] == ["composer"]
    assert {role for role, _, _ in models.credits()} == set(ROLES) - {"composer"}
    with pytest.raises(KeyError):
        settings.of_role("painter")


def test_models_can_be_pickled_before_they_are_used():
    models = models_of(ModelSettings())
    assert pickle.loads(pickle.dumps(models)).credits() == models.credits()


def test_settings_without_a_kind_are_those_of_the_default():
    given = ModelSettings.model_validate({"outpainter": {"num_inference_steps": 3}, "captioner": {"kind": False}})
    assert (given.outpainter.kind, given.outpainter.num_inference_steps, given.captioner.kind) == (
        "patch-diffusion",
        3,
        "off",
    )


def test_a_controlnet_needs_a_composer():
    with pytest.raises(ValidationError, match="name a composer"):
        ModelSettings.model_validate({"outpainter": {"kind": "controlnet-inpaint"}})
    ModelSettings.model_validate({"outpainter": {"kind": "controlnet-inpaint"}, "composer": {"kind": "sam"}})
