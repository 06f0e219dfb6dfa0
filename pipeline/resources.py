"""Where the bundled recipes, photographs and weights are: beside the packages in a checkout, inside ``pipeline`` in a wheel."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def bundled(folder: str) -> Path:
    """Path of ``configs`` or ``assets``; raises FileNotFoundError when the installation lacks it."""
    for root in (_HERE.parent, _HERE / "_bundled"):
        if (root / folder).is_dir():
            return root / folder
    raise FileNotFoundError(f"the bundled folder '{folder}' is missing: reinstall procrop-data")
