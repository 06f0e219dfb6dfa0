"""Files and checkpoints that the models of a recipe need, whether each is on this machine, and where it is downloaded from."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.errors import ModelError
from pipeline.core.json_types import Json
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.checkpoint_backend import CheckpointSettings
from stages.backends.base.checkpoint_files import SAFE, TABLES, is_file_name, is_hub_id, locate
from stages.backends.base.plugin_models import PluginSettings
from stages.backends.outpainters.diffusion.families import FAMILIES
from stages.backends.registry import ModelSettings

# Approximate sizes in GB of the published checkpoints, from their cards, by kind and by hub id or file.
PUBLISHED_GB = {
    "blip": 1.9, "blip2": 31.0, "florence": 1.6, "laion": 1.7, "siglip": 3.5, "nima": 0.06, "sam": 0.4, "dinov2": 0.35,
    "clip": 1.7, "small-diffusion": 0.03, **{kind: family.size_gb for kind, family in FAMILIES.items()},
}  # fmt: skip
OTHERS_GB = {
    "CompVis/stable-diffusion-safety-checker": 1.2, "lllyasviel/control_v11p_sd15_seg": 1.4,
    "sac+logos+ava1-l14-linearMSE.pth": 0.004, "aesthetic_predictor_v2_5.pth": 0.003, "NIMA_VGG16_ava.pth": 0.06,
    "sam_vit_b_01ec64.pth": 0.4, "sdxl_lightning_4step_lora.safetensors": 0.4,
}  # fmt: skip
# Kinds whose settings need more than their kind.
NO_DEFAULT = ("auto", "sdxl-controlnet-inpaint")
# Where published single files are, by their name; ``hf:`` for a file of a repository on the hub.
SOURCES = {
    "sac+logos+ava1-l14-linearMSE.pth":
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac%2Blogos%2Bava1-l14-linearMSE.pth",
    "aesthetic_predictor_v2_5.pth":
        "https://github.com/discus0434/aesthetic-predictor-v2-5/raw/main/models/aesthetic_predictor_v2_5.pth",
    "NIMA_VGG16_ava.pth": "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/NIMA_VGG16_ava-dc4e8265.pth",
    "sam_vit_b_01ec64.pth": "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
    "sdxl_lightning_4step_lora.safetensors": "hf:ByteDance/SDXL-Lightning",
}  # fmt: skip


@dataclass(frozen=True)
class NeededFile:
    """A file or checkpoint that a model needs.

    Args:
        setting: that names it, such as ``models.scorer.head``.
        model: hub id, folder or file.
        is_here: whether it is on this machine.
        problem: why it cannot be used, if it is not here.
        size_gb: about; 0 if not known.
        revision: of a hub id; empty for its default branch.
        variant: of the weights, such as ``fp16``; empty for the plain ones.
        licence: of the weights.
    """

    setting: str
    model: str
    is_here: bool
    problem: str = ""
    size_gb: float = 0.0
    revision: str = ""
    variant: str = ""
    licence: str = ""

    @property
    def role(self) -> str:
        """The role whose model needs it."""
        return self.setting.split(".")[1]

    @property
    def patterns(self) -> list[str]:
        """Files of a repository that are loaded, where not all are."""
        return [f"*.{self.variant}{SAFE}", *(f"*{suffix}" for suffix in sorted(TABLES))] if self.variant else []

    @property
    def source(self) -> str:
        """Where a single file is: an address, or ``hf:owner/name``; empty for a hub id and for an unknown file."""
        return SOURCES.get(Path(self.model).name, "") if not is_hub_id(self.model) else ""

    def command(self) -> str:
        """The line of a shell that downloads it; a comment where nothing is known of it."""
        model = shlex.quote(self.model)
        if is_hub_id(self.model):
            revision = f" --revision {shlex.quote(self.revision)}" if self.revision else ""
            patterns = "".join(f" --include {shlex.quote(pattern)}" for pattern in self.patterns)
            return f"hf download {model}{revision}{patterns}"
        folder = str(Path(self.model).expanduser().parent)
        if self.source.startswith("hf:"):
            return (
                f"hf download {self.source[3:]} {shlex.quote(Path(self.model).name)} --local-dir {shlex.quote(folder)}"
            )
        if self.source:
            return f"curl --fail --location --create-dirs --output {model} {shlex.quote(self.source)}"
        return f"# put {self.setting} at {model}: nothing published has this name"

    def text(self) -> str:
        """What it is, in one line."""
        size = f"about {self.size_gb:.2g} GB" if self.size_gb >= 0.1 else "a small file" if self.size_gb else ""
        return ", ".join(filter(None, [f"{self.setting} {self.model}", size, self.licence]))

    def as_json(self) -> dict[str, Json]:
        """An entry of ``doctor --json``."""
        return {**asdict(self), "command": "" if self.is_here else self.command()}


def needed_files(settings: ModelSettings) -> list[NeededFile]:
    """Everything that the models of a recipe load from outside this package, each once, in the order of the roles."""
    found: dict[str, NeededFile] = {}
    for role in type(settings).model_fields:
        for needed in files_of_backend(settings.of_role(role), f"models.{role}"):
            found.setdefault(needed.model, needed)
    return list(found.values())


def files_of_backend(settings: BackendSettings, path: str) -> Iterator[NeededFile]:
    """The same of one backend. path: of its settings in the recipe."""
    for number, member in enumerate(getattr(settings, "members", ())):
        yield from files_of_backend(member, f"{path}.members.{number}")
    for name, model in _names(settings):
        own = name == "model"
        revision, variant = (getattr(settings, key, "") if own else "" for key in ("revision", "variant"))
        size = PUBLISHED_GB.get(settings.kind, 0.0) if own and _is_published(settings, model) else 0.0
        problem = problem_of(model, revision, folder=own and settings.kind != "sam")
        licence = getattr(settings, "licence", "") if own else ""
        yield NeededFile(
            f"{path}.{name}", model, not problem, problem, OTHERS_GB.get(Path(model).name, OTHERS_GB.get(model, size)),
            revision, variant, licence,
        )  # fmt: skip


def _is_published(settings: BackendSettings, model: str) -> bool:
    """Whether a checkpoint is the one that the kind has by default, whose size is known."""
    if not isinstance(settings, CheckpointSettings) or settings.kind in NO_DEFAULT:
        return False
    return type(settings).model_validate({"kind": settings.kind}).model == model


def _names(settings: BackendSettings) -> Iterator[tuple[str, str]]:
    """(setting, value) of each checkpoint that a backend names."""
    if isinstance(settings, PluginSettings) and not isinstance(settings, CheckpointSettings):
        return  # what a parameter of its constructor means is not known
    values: Mapping[str, object] = dict(settings)
    unused = {"safety_model"} if values.get("safety") is False else set[str]()
    if settings.kind in ("nima", "chat"):  # the names of a timm network and of a server's model
        unused.add("model")
    for name in ("model", "head", "controlnet", "lora", "safety_model"):
        if values.get(name) and name not in unused:
            yield name, str(values[name])


def problem_of(model: str, revision: str = "", *, folder: bool = False) -> str:
    """Why a checkpoint cannot be used on this machine; empty if it can. folder: a single file will not do."""
    path = Path(model).expanduser()
    if path.is_dir() and is_file_name(model):
        return "it is a folder, want a file"
    if path.is_file() and folder:
        return "it is a file, want a folder in the hub's layout"
    try:
        locate(model, revision)
    except ModelError:
        return "not on this machine"
    return ""


def total_gb(needed: list[NeededFile]) -> float:
    """Their size in GB, about."""
    return sum(one.size_gb for one in needed)


def download_script(recipe: str, missing: list[NeededFile]) -> str:
    """A shell script that downloads what is missing, one line each with size and licence."""
    if not missing:
        return f"# '{recipe}' needs nothing that is not on this machine"
    lines = [f"# {len(missing)} downloads of '{recipe}', about {total_gb(missing):.2g} GB"]
    for one in missing:
        lines += [f"# {one.text()}", one.command()]
    return "\n".join(lines)
