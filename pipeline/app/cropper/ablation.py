"""``eval --ablate``: what each part of the cropper is worth, in one table.

``retrieval`` and ``k`` measure the given model with other references. ``fusion``, ``text`` and ``refinement`` need networks of
their own: these, and one with the recipe's settings, are trained on the same data with the same seed and epochs. Their folders
stay below ``models/ablations``, so an interrupted or repeated command continues from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.app.cropper.train import fit_cropper, train_config_of
from pipeline.app.session import Session
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.network.config import CropperConfig
    from procrop_model.training.train import TrainConfig

METRICS = ("iou", "bde", "recall")
KS = (1, 2, 5, 10, 20)
TEXT_DIM = 64
CONTEXT = ("dataset", "protocol", "split", "n", "photos")  # keys of an evaluation that the table repeats
Measure = Callable[[Path, int | None], Mapping[str, Any]]


class Variant(NamedTuple):
    """One row of the table. folder: of the model; k: references per image, None for the model's own number."""

    name: str
    folder: Path
    k: int | None = None


@dataclass(frozen=True)
class AblationTraining:
    """How the networks of an ablation are trained. epochs: 0 for the recipe's; device: ``auto`` is a GPU if there is one."""

    session: Session
    epochs: int = 0
    device: str = "auto"
    quiet: bool = False

    def fit(self, name: str, change: "Callable[[TrainConfig], TrainConfig]") -> Variant:
        """Train a network with the recipe's settings after ``change``; every variant sees all its epochs."""
        config = change(train_config_of(self.session.recipe.train, self.device))
        config = replace(config, epochs=self.epochs or config.epochs, patience=0)
        slug = "".join(letter if letter.isalnum() else "-" for letter in name)
        root = Path(self.session.run.store.url)
        home = root / "models" / "ablations" / f"{slug}-{config.epochs}"
        fit_cropper(self.session, config, root, home, name=name, quiet=self.quiet)
        return Variant(name, home / "cropper")


def parts_of(names: str) -> list[str]:
    """The comma-separated parts of ``--ablate``. Raises UsageError for an unknown one."""
    parts = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := sorted(set(parts) - set(PARTS)):
        raise UsageError(f"--ablate {unknown[0]}: the parts are {', '.join(PARTS)}")
    return parts


def ablate(training: AblationTraining, folder: Path, parts: Sequence[str], measure: Measure) -> Mapping[str, Any]:
    """The table: ``rows`` by variant with each metric as [mean, low, high], and ``differences`` to the first row of the same
    part, paired by canvas.

    Args:
        training: how variants that need a network of their own are trained.
        folder: of the given model.
        parts: keys of PARTS.
        measure: (model folder, k) -> the result of ``evaluate`` on the split; called once per pair.
    """
    from procrop_model.evaluation.evaluate_run import MODEL, summary

    rows: dict[str, dict[str, list[float]]] = {}
    differences: dict[str, dict[str, list[float]]] = {}
    results: dict[tuple[Path, int | None], Mapping[str, Any]] = {}
    result: Mapping[str, Any] = {}
    for part in parts:
        base: list[Mapping[str, float]] = []
        for name, model, k in PARTS[part](training, folder):
            if (model, k) not in results:
                results[model, k] = measure(model, k)
            result = results[model, k]
            figures = [image[MODEL] for image in result["images"]]
            photos = [image["photo"] for image in result["images"]]
            rows[f"{part}: {name}"] = summary(figures, METRICS, photos)
            if base:
                paired = [{m: one[m] - other[m] for m in METRICS} for one, other in zip(figures, base, strict=True)]
                differences[f"{part}: {name}"] = summary(paired, METRICS, photos)
            base = base or figures
    return {
        **{name: result[name] for name in CONTEXT},
        "ablated": list(parts),
        "epochs": training.epochs,
        "rows": rows,
        "differences": differences,
    }


def _retrieval(training: AblationTraining, folder: Path) -> Iterator[Variant]:
    yield Variant("as it is", folder)
    yield Variant("without references", folder, 0)


def _ks(training: AblationTraining, folder: Path) -> Iterator[Variant]:
    from procrop_model import Cropper

    cropper = Cropper.load(folder, precision="fp32")
    yield Variant(f"k = {cropper.config.k}, as it is", folder)
    for k in KS:
        if k != cropper.config.k and k <= len(cropper.database):
            yield Variant(f"k = {k}", folder, k)


def _fusions(training: AblationTraining, folder: Path) -> Iterator[Variant]:
    yield training.fit("the recipe's", _unchanged)
    yield training.fit(
        "attention without matching", lambda c: _with_model(c, replace(c.model, fusion="attention", matching=False))
    )
    yield training.fit(
        "published token MLP", lambda c: _with_model(c, replace(c.model, fusion="token_mlp", text_dim=0))
    )
    yield training.fit("none", lambda c: _with_model(c, replace(c.model, fusion="none", text_dim=0)))


def _texts(training: AblationTraining, folder: Path) -> Iterator[Variant]:
    yield training.fit("the recipe's", _unchanged)
    yield training.fit(
        "with captions", lambda c: _with_model(c, replace(c.model, fusion="attention", text_dim=TEXT_DIM))
    )


def _refinements(training: AblationTraining, folder: Path) -> Iterator[Variant]:
    yield training.fit("the recipe's", _unchanged)
    # At weight 0, refined crops are no target of a box, a query or the RoI head: only the photograph's rectangle is one.
    yield training.fit("pseudo-labels alone", lambda c: replace(c, loss=replace(c.loss, other=0.0)))


PARTS: dict[str, Callable[[AblationTraining, Path], Iterator[Variant]]] = {
    "retrieval": _retrieval, "k": _ks, "fusion": _fusions, "text": _texts, "refinement": _refinements
}  # fmt: skip


def _unchanged(config: "TrainConfig") -> "TrainConfig":
    return config


def _with_model(config: "TrainConfig", model: "CropperConfig") -> "TrainConfig":
    return replace(config, model=model)
