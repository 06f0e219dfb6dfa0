"""What ``eval`` is asked for."""

from dataclasses import dataclass

from pipeline.core.errors import UsageError

OF_SETS = (
    "protocol",
    "names",
    "half",
    "scorer",
    "boxes",
    "groups",
    "long-side",
    "quick",
    "refit-calibration",
)  # options for public sets alone


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated, on what, and by which protocol.

    Args:
        work: run directory; without ``dataset``, its held-out canvases are measured.
        config: recipe by name or file; empty: the recipe of the run directory.
        model: folder of a trained cropper; empty: the one of ``work``, else the bundled one.
        dataset: name of a public set; empty: the run's canvases.
        root: folder of the public set, as published.
        split: empty: ``test``, or the public set's own default.
        protocol: of a public set; empty: the set's own.
        names: file of picture names (lines of text, or a JSON list or object); only these are measured.
        half: of a public set: ``choose`` or ``check``; empty: both.
        scorer: measured in place of the cropper, by a protocol that ranks given boxes: a kind of ``models.scorer`` in a recipe, or
            a folder that ``train-scorer`` wrote.
        boxes: CSV of boxes that are measured in place of the cropper's.
        groups: CSV of groups of images, which are reported apart.
        long_side: of the images that the cropper or scorer sees, in pixels; 0: as they are.
        quick: leave out faces and the baselines that look at the image, which take most of the time.
        refit_calibration: write a new calibration of the scores, fitted on these images, into ``model``.
        out: folder for the report of a public set.
        ablate: comma-separated parts of the network; measures what each is worth on the run's canvases.
        ablate_epochs: epochs of the networks that are trained for ``ablate``; 0: the recipe's.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU if there is one.
    """

    work: str = "work"
    config: str = ""
    model: str = ""
    dataset: str = ""
    root: str = ""
    split: str = ""
    protocol: str = ""
    names: str = ""
    half: str = ""
    scorer: str = ""
    boxes: str = ""
    groups: str = ""
    long_side: int = 0
    quick: bool = False
    refit_calibration: bool = False
    out: str = "evaluation"
    ablate: str = ""
    ablate_epochs: int = 0
    device: str = "auto"

    def require_consistent(self) -> None:
        """Raise UsageError for options that exclude or need one another."""
        if bool(self.dataset) != bool(self.root):
            raise UsageError("--dataset and --root go together: the name of a public set, and the folder that holds it")
        if self.ablate and self.dataset:
            raise UsageError("--ablate trains and measures on a run's canvases: leave --dataset out")
        of_sets = {name: getattr(self, name.replace("-", "_")) for name in OF_SETS}
        given = [f"--{name}" for name, value in of_sets.items() if value]
        if given and not (self.dataset or self.ablate):
            raise UsageError(f"{', '.join(given)} are for public sets: give --dataset and --root, too")
        if sum(map(bool, (self.scorer, self.boxes, self.model))) > 1:
            raise UsageError("--model, --scorer and --boxes exclude one another: each names what is measured")
        if self.refit_calibration and not self.model:
            raise UsageError("--refit-calibration changes a model folder: name it with --model")
