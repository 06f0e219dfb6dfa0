"""Settings that earlier versions named otherwise: refused in a recipe with the new name, read in a recorded one."""

from collections.abc import Mapping

from pipeline.core.json_types import Json

# By role, the present name of each old one: those of diffusers and transformers.
RENAMED = {
    "outpainter": {
        "steps": "num_inference_steps", "guidance": "guidance_scale", "control_scale": "controlnet_conditioning_scale",
        "offload": "enable_model_cpu_offload",
    },
    "captioner": {"beams": "num_beams", "max_tokens": "max_new_tokens"},
}  # fmt: skip
OFFLOAD: dict[Json, dict[str, Json]] = {
    "model": {"enable_model_cpu_offload": True},
    "sequential": {"enable_sequential_cpu_offload": True},
}
# What the libraries themselves have renamed: ``torch_dtype`` is deprecated in diffusers 0.42 and in transformers 5.
ELSEWHERE = {"torch_dtype": "dtype"}


def new_name(key: str) -> str:
    """The present name of a key of a recipe, ``models.outpainter.steps``; empty where it never had another one."""
    owner, _, name = key.rpartition(".")
    new = RENAMED.get(owner.removeprefix("models."), {}).get(name) or ELSEWHERE.get(name, "")
    return f"{owner}.{new}" if new else ""


def with_new_names(config: Mapping[str, Json]) -> dict[str, Json]:
    """A recorded recipe with the present names; the mapping itself is not changed."""
    models = config.get("models")
    if not isinstance(models, Mapping):
        return dict(config)
    renamed = {role: _renamed(settings, RENAMED.get(role, {})) for role, settings in models.items()}
    return {**config, "models": renamed}


def _renamed(settings: Json, names: Mapping[str, str]) -> Json:
    if not isinstance(settings, Mapping) or settings.get("kind") == "chat":  # whose max_tokens is that of the endpoint
        return settings
    out: dict[str, Json] = {}
    for name, value in settings.items():
        out |= OFFLOAD.get(value, {}) if name == "offload" and names else {names.get(name, name): value}
    return out
