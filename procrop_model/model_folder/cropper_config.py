"""``config.json`` of a model folder; imports no torch."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.resources import file_digest
from procrop_model.network.lite0_files import weights_path

FORMAT, VERSION = "procrop-cropper", 1


def read_cropper_config(home: Path) -> dict[str, Any]:
    """The config of a cropper that this installation can run. Raises ModelError when it is missing, foreign or damaged."""
    path = home / "config.json"
    try:
        about = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"no cropper in {home}: config.json is missing; train one with `procrop-data train`"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ModelError(f"{path} is not the config of a cropper")
    if about.get("version") != VERSION:
        raise ModelError(f"{path} has version {about.get('version')}, this code reads {VERSION}")
    if missing := [name for name in ("cropper", "lite0") if name not in about]:
        raise ModelError(f"{path} lacks '{missing[0]}'")
    if (installed := file_digest(str(weights_path()))) != about["lite0"]:
        raise ModelError(f"the model in {home} needs Lite0 weights {about['lite0']}, this installation has {installed}")
    return about
