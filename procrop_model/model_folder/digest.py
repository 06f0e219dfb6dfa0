"""What a saved cropper's output depends on, as one digest, without loading it (or torch)."""

import json
from pathlib import Path

from pipeline.core.errors import ModelError
from pipeline.core.resources import file_digest
from pipeline.core.seeds import digest_of


def model_digest(folder: Path | str) -> str:
    """Digest of the sizes, weights and references of a model folder, without its ``trained`` metadata.

    Raises ModelError when there is no whole cropper.
    """
    home = Path(folder)
    try:
        about = json.loads((home / "config.json").read_text("utf-8"))
        shaping = {name: value for name, value in about.items() if name != "trained"}
        files = [file_digest(str(home / name)) for name in ("model.safetensors", "references/references.parquet")]
    except FileNotFoundError as error:
        raise ModelError(
            f"no cropper in {home}: {Path(error.filename).name} is missing; train one with `procrop-data train`"
        ) from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{home / 'config.json'} is damaged: {error}") from error
    return digest_of([shaping, *files])[:16]
