"""``croissant.json``: the dataset described for programs, in the Croissant format 1.1 with the vocabulary of responsible AI.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import get_args, get_origin, get_type_hints

from pipeline.core.json_types import JsonObject
from pipeline.storage.base import FileInfo
from stages.publishing.final_sample import FinalSample

CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
# The standard names of Croissant 1.1: its readers want exactly these.
_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty", "fileObject",
    "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
    "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: JsonObject = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {str: "sc:Text", int: "cr:Int64", float: "cr:Float64"}

MEANINGS = {
    "status": "'kept' for a sample of the shards, 'rejected' for a canvas that was left out.",
    "reason": "Why a canvas was left out; empty for a sample.",
    "key": "Key of the sample, and name of its files in the shard.",
    "photo": "Key of the photograph; all canvases of a photograph are in one split.",
    "width": "Of the canvas, in pixels.",
    "height": "Of the canvas, in pixels.",
    "photo_box": "The rectangle of the photograph on its canvas: x1, y1, x2, y2 in pixels, half-open.",
    "crops": "Good crops, the rectangle of the photograph first: x1, y1, x2, y2 in pixels.",
    "scores": "Score of each crop, 0 to 10.",
    "origins": "How each crop was found.",
    "prompt": "What the out-painter was asked for.",
    "negative_prompt": "What the out-painter was to avoid.",
    "seed": "Of the out-painter.",
    "outpainter": "Name and digest of the model that painted the surroundings.",
    "scorer": "Name and digest of the model that scored the crops.",
    "licence": "Of the photograph.",
    "author": "Of the photograph.",
    "source": "Where the photograph is from.",
}


@dataclass(frozen=True)
class DatasetWords:
    """What the description says in words.

    Args:
        name: of the dataset.
        description: one paragraph.
        licence: name or address of the licence of the whole.
        responsible: text or texts by property of the vocabulary ``rai``.
    """

    name: str
    description: str
    licence: str
    responsible: Mapping[str, str | bool | list[str]]


def croissant_json(words: DatasetWords, tars: Mapping[str, FileInfo]) -> bytes:
    """The file ``croissant.json``, which lies beside the folders ``shards`` and ``metadata``.

    Args:
        words: what is said about the dataset.
        tars: size and sha256 of each shard by its path from the dataset's folder.
    """
    body: JsonObject = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": words.name,
        "description": words.description,
        "license": words.licence,
        "version": "1.0.0",
        "citeAs": f"@misc{{{words.name}, title={{{words.name}}}, note={{made with procrop-data}}}}",
        "keywords": ["image cropping", "aesthetics", "out-painting", "synthetic"],
        "isLiveDataset": False,
        **{f"rai:{name}": text for name, text in words.responsible.items()},
        "distribution": [*(_tar(path, info) for path, info in sorted(tars.items())), *_file_sets(sorted(tars))],
        "recordSet": [_samples(), _canvases()],
    }
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def _tar(path: str, info: FileInfo) -> JsonObject:
    return {
        "@type": "cr:FileObject", "@id": PurePosixPath(path).stem, "name": PurePosixPath(path).name, "contentUrl": path,
        "contentSize": f"{info['size']} B", "encodingFormat": "application/x-tar", "sha256": info["sha256"],
    }  # fmt: skip


def _file_sets(tars: Sequence[str]) -> list[JsonObject]:
    inside = [{"@id": PurePosixPath(path).stem} for path in tars]
    return [
        {
            "@type": "cr:FileSet", "@id": "jpg-files", "name": "jpg-files", "containedIn": inside,
            "encodingFormat": "image/jpeg", "includes": "*.jpg",
        },
        {
            "@type": "cr:FileSet", "@id": "metadata", "name": "metadata",
            "encodingFormat": "application/x-parquet", "includes": "metadata/*.parquet",
        },
    ]  # fmt: skip


def _samples() -> JsonObject:
    """The rows of the metadata tables: all samples, and the canvases that the last stage left out, which ``status`` tells apart."""
    hints = {"status": str, "reason": str, **get_type_hints(FinalSample)}
    return {
        "@type": "cr:RecordSet", "@id": "samples", "name": "samples", "key": {"@id": "samples/key"},
        "description": "The JSON of each sample. Rows whose status is 'rejected' are canvases that were left out at the end.",
        "field": [_field(name, hint) for name, hint in hints.items()],
    }  # fmt: skip


def _field(name: str, hint: object) -> JsonObject:
    depth = 0
    while get_origin(hint) is list:
        hint, depth = get_args(hint)[0], depth + 1
    shape: JsonObject = {"isArray": True, "arrayShape": ",".join(["-1"] * depth)} if depth else {}
    return {
        "@type": "cr:Field", "@id": f"samples/{name}", "name": name, "description": MEANINGS[name],
        "dataType": next(word for kind, word in _TYPES.items() if kind is hint), **shape,
        "source": {"fileSet": {"@id": "metadata"}, "extract": {"column": name}},
    }  # fmt: skip


def _canvases() -> JsonObject:
    """The pictures, with the key of their sample."""
    key = {
        "fileSet": {"@id": "jpg-files"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": r"^([^.]+)"},
    }
    image = {"fileSet": {"@id": "jpg-files"}, "extract": {"fileProperty": "content"}}
    return {
        "@type": "cr:RecordSet", "@id": "canvases", "name": "canvases", "key": {"@id": "canvases/key"},
        "description": "The picture of each sample.",
        "field": [
            {
                "@type": "cr:Field", "@id": "canvases/key", "name": "key", "description": "Key of the sample.",
                "dataType": "sc:Text", "references": {"field": {"@id": "samples/key"}}, "source": key,
            },
            {
                "@type": "cr:Field", "@id": "canvases/image", "name": "image", "description": "The canvas.",
                "dataType": "sc:ImageObject", "source": image,
            },
        ],
    }  # fmt: skip
