"""What somebody gave as a model that is something else, and which verb takes that."""

import re
from pathlib import Path
from typing import Final

_WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
# Endings of files that exist -> what they are, and what to do with them instead.
_FILES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (
        (".onnx", ".tflite", ".pte"),
        (
            "is an exported file, which has no layers to train or to change; eval and "
            "profile take it, every other verb the run, checkpoint or Keras file it "
            "was made from"
        ),
    ),
    (
        _WEIGHTS,
        (
            "is a file of weights, and its architecture is not known; name the "
            "architecture as the model and the file as its weights"
        ),
    ),
    ((".py",), "is Python; give it as --model-file FILE.py:FUNCTION"),
    ((".yaml", ".yml"), "is a recipe, or another YAML file; `compress run` takes it"),
    (
        (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
        "is an image; --data takes a folder of images, one folder a class",
    ),
    ((".zip", ".csv"), "holds data or a table, no model; --data takes it"),
    ((".pb",), "is a TensorFlow graph; name the folder of its SavedModel"),
    (
        (".json", ".html", ".md", ".jsonl"),
        "is a record or a report, no model; name the run directory that it lies in",
    ),
)
# torchvision's other networks by module, and how people call others of their kind.
_KINDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("detection", "a detector", r"rcnn|yolo|detr|retinanet|fcos|^ssd|efficientdet"),
    ("segmentation", "a segmenter", r"unet|deeplab|lraspp|^fcn|segformer|maskformer"),
    ("video", "a video classifier", r"r3d|mvitv|s3d"),
    ("optical_flow", "an optical-flow network", r"^raft"),
)


def mistaken(name: str) -> str | None:
    """A sentence about `name` where it is known, though not as a classifier."""
    if (known := _path(name)) is not None:
        return known
    kind = _kind(name)
    if kind is None:
        return None
    return (
        f"model: {name!r} is {kind}; edgepress compresses image classifiers for now; "
        "`compress models` lists them"
    )


def _path(name: str) -> str | None:
    """What a file or folder is; None where there is none and the name has no ending."""
    path = Path(name)
    said = next((s for ends, s in _FILES if path.suffix.lower() in ends), None)
    try:
        if not path.exists() and path.suffix.lower() not in _WEIGHTS:
            return f"model: {name}: no such file" if said else None
        if path.is_file() or not path.exists():
            return f"model: {name}: {said or 'is a file, but no model; see `--help`'}"
        if path.is_dir():
            return None
    except (OSError, ValueError):  # too long for a path, or a null byte in it
        return None
    return f"model: {name}: is neither a file nor a folder, and no model"


def _kind(name: str) -> str | None:
    """What else than a classifier `name` is called after."""
    from compress.context.vision import torchvision

    plain = name.rpartition("/")[2].lower()
    for module, kind, spelled in _KINDS:
        listed = torchvision.models.list_models(
            module=getattr(torchvision.models, module)
        )
        if plain in listed or re.search(spelled, plain):
            return kind
    return None
