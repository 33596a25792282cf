"""`compress profile`: the same as `python -m runtime`, with this program's flags."""

from typing import Final

from runtime.profile import add_arguments, execute

__all__ = ["add_arguments", "execute"]

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
)
