"""``eval --ablate``: what each part of the cropper is worth, in one table.

``retrieval`` and ``k`` ask the model as it is with other references; ``fusion``, ``text`` and ``refinement`` need networks of their
own, so they and one like the recipe's are trained side by side: same data, seed and epochs. Their folders stay below
``models/ablations``, and an interrupted or repeated command goes on from there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.session import Session
from pipeline.cli.train import as_config, fit_at
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.training.train import TrainConfig

METRICS = ("iou", "bde", "recall")
KS = (1, 2, 5, 10, 20)
TEXT_DIM = 64
Asked = tuple[str, Path, int | None]  # name, model folder, references an image (None: the model's own)
Measure = Callable[[Path, int | None], dict[str, Any]]


def wanted_parts(given: str) -> list[str]:
    """The names in ``--ablate``; raises UsageError for an unknown one."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(PARTS)):
        raise UsageError(f"--ablate {unknown[0]}: the parts are {', '.join(PARTS)}")
    return names


def ablate(
    session: Session, folder: Path, parts: Sequence[str], measure: Measure, *, epochs: int, device: str, quiet: bool
) -> dict[str, Any]:
    """The table: ``rows`` by variant with each figure as [mean, low, high], ``differences`` to the first row of its group,
    paired by canvas. folder: the model; measure(folder, k): what ``evaluate`` tells of one on the split.
    """
    from procrop_model.evaluation.evaluate_run import MODEL, summary

    rows: dict[str, Any] = {}
    less: dict[str, Any] = {}
    images: dict[tuple[Path, int | None], Any] = {}
    about: dict[str, Any] = {}
    for part in parts:
        base: list[dict[str, Any]] = []
        for name, model, k in PARTS[part](session, folder, epochs=epochs, device=device, quiet=quiet):
            if (model, k) not in images:
                about = measure(model, k)
                images[model, k] = about["images"]
            found = [row[MODEL] for row in images[model, k]]
            photos = [row["photo"] for row in images[model, k]]
            rows[f"{part}: {name}"] = summary(found, METRICS, photos)
            if base:
                apart = [{m: one[m] - other[m] for m in METRICS} for one, other in zip(found, base, strict=True)]
                less[f"{part}: {name}"] = summary(apart, METRICS, photos)
            base = base or found
    told = {name: about[name] for name in ("dataset", "protocol", "split", "n", "photos")}
    return {**told, "ablated": list(parts), "epochs": epochs, "rows": rows, "differences": less}


def _retrieval(session: Session, folder: Path, **how: Any) -> Iterator[Asked]:
    yield "as it is", folder, None
    yield "without references", folder, 0


def _ks(session: Session, folder: Path, **how: Any) -> Iterator[Asked]:
    from procrop_model import Cropper

    cropper = Cropper.load(folder)
    yield f"k = {cropper.config.k}, as it is", folder, None
    for k in KS:
        if k != cropper.config.k and k <= len(cropper.database):
            yield f"k = {k}", folder, k


def _fusions(session: Session, folder: Path, **how: Any) -> Iterator[Asked]:
    yield _trained(session, "the recipe's", _same, **how)
    yield _trained(
        session, "attention without matching", lambda c: _model(c, fusion="attention", matching=False), **how
    )
    yield _trained(session, "published token MLP", lambda c: _model(c, fusion="token_mlp", text_dim=0), **how)
    yield _trained(session, "none", lambda c: _model(c, fusion="none", text_dim=0), **how)


def _texts(session: Session, folder: Path, **how: Any) -> Iterator[Asked]:
    yield _trained(session, "the recipe's", _same, **how)
    yield _trained(session, "with captions", lambda c: _model(c, fusion="attention", text_dim=TEXT_DIM), **how)


def _refinements(session: Session, folder: Path, **how: Any) -> Iterator[Asked]:
    yield _trained(session, "the recipe's", _same, **how)
    # At weight 0 the refined crops are no target of a box, a query or the RoI head: only the photograph's rectangle is.
    yield _trained(session, "pseudo-labels alone", lambda c: replace(c, loss=replace(c.loss, other=0.0)), **how)


PARTS = {"retrieval": _retrieval, "k": _ks, "fusion": _fusions, "text": _texts, "refinement": _refinements}


def _same(config: "TrainConfig") -> "TrainConfig":
    return config


def _model(config: "TrainConfig", **changes: Any) -> "TrainConfig":
    return replace(config, model=replace(config.model, **changes))


def _trained(
    session: Session,
    name: str,
    change: "Callable[[TrainConfig], TrainConfig]",
    *,
    epochs: int,
    device: str,
    quiet: bool,
) -> Asked:
    """A network trained at the recipe's settings but for one; every variant sees all its epochs."""
    config = change(as_config(session.recipe.train, device))
    config = replace(config, epochs=epochs or config.epochs, patience=0)
    word = "".join(letter if letter.isalnum() else "-" for letter in name)
    root = Path(session.run.store.url)
    home = root / "models" / "ablations" / f"{word}-{config.epochs}"
    fit_at(session, config, root, home, name=name, quiet=quiet)
    return name, home / "cropper", None
