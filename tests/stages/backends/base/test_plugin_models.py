import pickle
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.core.errors import ModelError, UsageError
from pipeline.planning.recipe_files import parse
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.plugin_models import PROTOCOLS, PluginModel
from stages.backends.base.protocols import Encoded, Perceiving
from stages.backends.registry import ModelSettings
from stages.refine import RefineSettings

HERE = "plugins_of_this_test"


class Cells(BackendSettings):
    """A settings class of its own."""

    kind: str = "cells"
    cells: int = 2

    @property
    def runs_on(self) -> str:
        return "cuda"

    def build(self):
        return Encoder(self.cells)


class Encoder:
    name, licence = "cells", "MIT"

    def __init__(self, cells: int, device: str = "auto") -> None:
        if cells > 9:
            raise ValueError(f"{cells} cells are too many")
        self.cells, self.digest = cells, "e1"

    def encode(self, images):
        return [Encoded(np.ones(self.cells), np.ones((1, self.cells)), (1, 1)) for _ in images]


class Mapped:
    """A scorer with maps."""

    name, licence, digest = "mapped", "MIT", "m1"

    def score(self, pictures, boxes):
        return [np.full(len(own), 5, np.float32) for own in boxes]

    def digest_of_maps(self):
        return "maps1"

    def perceive(self, images, masks, segmenter):
        return [{} for _ in images]


class Halves:
    digest = "h1"

    def propose(self, images, own):
        return [np.zeros((0, 4), np.float32) for _ in images]


class Wordless(Encoder):
    @property
    def digest(self):
        raise KeyError("no weights")

    @digest.setter
    def digest(self, value):
        pass


class Odd:
    def __init__(self, table: np.ndarray) -> None: ...


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """This file under a name that can be imported."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def encoder(**given):
    return ModelSettings.model_validate({"encoder": {"kind": f"{HERE}:Encoder", "cells": 3, **given}}).encoder


def test_each_protocol_of_a_role_can_be_a_plugin():
    assert set(PROTOCOLS) == {*ModelSettings.model_fields, "proposer"}


def test_keys_are_the_parameters_of_the_constructor():
    settings = encoder()
    assert settings.model_dump() == {"kind": f"{HERE}:Encoder", "cells": 3, "device": "auto"}
    assert settings.uses_gpu and not encoder(device="cpu").uses_gpu
    assert settings.build().encode([0])[0].vector.shape == (3,)


def test_a_settings_class_of_its_own_is_kept():
    settings = ModelSettings.model_validate({"encoder": {"kind": f"{HERE}:Cells", "cells": 4}}).encoder
    assert (settings.runs_on, settings.model_dump()) == ("cuda", {"kind": f"{HERE}:Cells", "cells": 4})
    assert settings.build().cells == 4


def test_the_digest_covers_code_and_settings_but_not_the_device():
    digests = [encoder(**given).build().digest for given in ({}, {"device": "cpu"}, {"cells": 4})]
    assert digests[0] == digests[1] != digests[2]


def test_a_model_is_made_again_in_another_process():
    model = pickle.loads(pickle.dumps(encoder().build()))
    assert isinstance(model, PluginModel) and (model.cells, model.name) == (3, "cells")
    assert model.digest == encoder().build().digest


def test_a_scorer_with_maps_keeps_them():
    model = ModelSettings.model_validate({"scorer": f"{HERE}:Mapped"}).scorer.build()
    assert isinstance(model, Perceiving) and not isinstance(encoder().build(), Perceiving)
    assert model.digest_of_maps() not in ("", "maps1") and model.perceive([0], [0], "") == [{}]


def test_a_recipe_keeps_what_it_was_given():
    settings = ModelSettings.model_validate({"encoder": {"kind": f"{HERE}:Encoder", "cells": 3}})
    again = ModelSettings.model_validate(settings.model_dump(mode="json"))
    assert again.model_dump() == settings.model_dump() and again.encoder.kind == f"{HERE}:Encoder"
    ensemble = {"kind": "ensemble", "members": [{"kind": f"{HERE}:Mapped"}, {"kind": "composition"}]}
    member = ModelSettings.model_validate({"scorer": ensemble}).scorer.members[0]
    assert member.build().name == "mapped"


def test_a_box_proposer_joins_the_first_round():
    settings = RefineSettings.model_validate({"proposer": f"{HERE}:Halves"})
    assert settings.box_proposer().propose([0], [()])[0].shape == (0, 4)
    assert RefineSettings().box_proposer() is None
    with pytest.raises(ValidationError, match="is no plug-in"):
        RefineSettings.model_validate({"proposer": "halves"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": f"{HERE}:Encoder"}, r"encoder: plug-in '.*': cells is missing: give a whole number"),
        ({"kind": f"{HERE}:Encoder", "cells": 3, "cels": 1}, r"unknown key 'cels' \(did you mean 'cells'\?\)"),
        ({"kind": f"{HERE}:Encoder", "cells": 12}, r"cannot be made \(ValueError: 12 cells are too many\)"),
        ({"kind": f"{HERE}:Mapped"}, r"is no Encoder: it lacks encode\(\)"),
        ({"kind": f"{HERE}:Halves"}, r"is no Encoder: it lacks encode\(\), licence, name"),
        ({"kind": f"{HERE}:Odd"}, r"has a parameter of a type that no recipe can give"),
        ({"kind": "lite1"}, r"encoder = 'lite1': give lite0, .* or a plug-in as package.module:Name"),
    ],
)  # fmt: skip
def test_a_bad_plugin_is_one_line(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(ModelSettings, {"encoder": given}, "x")
    assert "\n" not in str(caught.value)


def test_a_digest_that_cannot_be_given_is_an_error_of_the_model():
    model = ModelSettings.model_validate({"encoder": {"kind": f"{HERE}:Wordless", "cells": 3}}).encoder.build()
    with pytest.raises(ModelError, match=r"gives no digest \(KeyError: 'no weights'\)"):
        _ = model.digest
