from stages.backends.base.backend_settings import BackendSettings
from stages.backends.registry import ModelSettings


def models(**roles):
    return ModelSettings.model_validate(roles)


def test_embedded_models_use_no_gpu():
    assert models().gpu_roles == frozenset()


def test_a_checkpoint_uses_a_gpu_unless_its_device_is_cpu():
    assert models(captioner={"kind": "blip"}).gpu_roles == {"captioner"}
    assert models(captioner={"kind": "blip", "device": "cuda:1"}).captioner.runs_on == "cuda:1"
    assert models(captioner={"kind": "blip", "device": "cpu"}).gpu_roles == frozenset()


def test_an_ensemble_uses_a_gpu_where_a_member_does():
    members = [{"kind": "composition"}, {"kind": "laion", "device": "cuda:0"}]
    ensemble = models(scorer={"kind": "ensemble", "members": members}).scorer
    assert isinstance(ensemble, BackendSettings)
    assert (ensemble.uses_gpu, ensemble.runs_on) == (True, "cuda:0")
    alone = models(scorer={"kind": "ensemble", "members": [{"kind": "composition"}]}).scorer
    assert (alone.uses_gpu, alone.runs_on) == (False, "cpu")
