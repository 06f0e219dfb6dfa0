"""The network that a recipe asks for reaches the trainer."""

import pytest
from pydantic import ValidationError

from pipeline.app.cropper.train import train_config_of
from procrop_model.network.config import CropperConfig, published_config
from procrop_model.training.config import settings_of
from stages.training.cropper_settings import NetworkSettings, TrainSettings


def test_what_is_not_named_keeps_the_architectures_own_sizes():
    assert train_config_of(TrainSettings(), "cpu").model == CropperConfig()
    published = TrainSettings(k=10, model=NetworkSettings(architecture="published"))
    assert train_config_of(published, "cpu").model == published_config()


def test_what_is_named_reaches_the_trainer():
    settings = TrainSettings.model_validate(
        {
            "init": "folder",
            "k": 3,
            "model": {"fusion": "attention", "text_dim": 32, "backbone": "resnet18", "train_backbone": False},
        }
    )
    config = train_config_of(settings, "cpu")
    assert config.init == "folder"
    assert (config.model.fusion, config.model.text_dim, config.model.k) == ("attention", 32, 3)
    assert (config.model.backbone, config.model.train_backbone) == ("resnet18", False)
    published = TrainSettings(model=NetworkSettings(architecture="published", train_backbone=False, fusion="none"))
    model = train_config_of(published, "cpu").model
    assert (model.train_backbone, model.fusion, model.queries) == (False, "none", 90)


@pytest.mark.parametrize("wrong", [{"fusion": "sum"}, {"input_side": 100}, {"queries": 3}])
def test_what_does_not_exist_is_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkSettings.model_validate(wrong)


def test_each_architecture_has_its_own_class_loss():
    ours, published = TrainSettings(), TrainSettings(model=NetworkSettings(architecture="published"))
    assert train_config_of(ours, "cpu").loss.alpha is None
    assert train_config_of(published, "cpu").loss.alpha == 0.25
    assert "alpha" not in settings_of(train_config_of(ours, "cpu"))["loss"]  # as checkpoints of before name their run
    assert settings_of(train_config_of(published, "cpu"))["loss"]["alpha"] == 0.25
