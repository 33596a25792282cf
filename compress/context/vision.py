"""torchvision and timm, importable beside any build of torch; import them from here.

The torchvision wheel that PyPI serves for Linux is built against CUDA. Beside a CPU
build of torch its C++ extension cannot load, and `import torchvision` (and so
`import timm`) dies with "operator torchvision::nms does not exist", although no
classifier needs that operator. Declaring the two missing schemas is enough.
"""

import importlib.util
from pathlib import Path
from typing import Final

import torch

_SCHEMAS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _extension_loads() -> bool:
    """Whether torchvision's C++ operators fit this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # the import below says what is missing
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so"))
    try:
        for library in libraries:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(libraries)


def _declared() -> torch.library.Library | None:
    """The library that declares the missing schemas; it lives as long as it is held."""
    if _extension_loads():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


_DECLARED = _declared()

import timm  # noqa: E402  # only after the schemas are declared
import timm.optim  # noqa: E402
import torchvision  # noqa: E402
import torchvision.transforms.v2  # noqa: E402  # no attribute until imported

__all__ = ["timm", "torchvision"]
