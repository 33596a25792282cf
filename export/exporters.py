"""Exporters by format: one literal table, and what each of them is told of a file."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from runtime.artifact import Artifact, Dtype, Format
from runtime.preprocess import Preprocess
from runtime.selftest import SelfTest
from runtime.target import Target

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a file is to be, and what it has to say about itself.

    dtype: of its numbers; half: whether what is float around INT8 is float16; io: of an
    INT8 file's edges; logits: the grid (scale, zero point) of its answer; batch: images
    a call; target: the device that INT8 is laid out for. What a format has no room for
    is not looked at.
    """

    path: Path
    dtype: Dtype
    size: int
    classes: tuple[str, ...]
    preprocess: Preprocess
    recipe_sha256: str
    name: str
    half: bool = False
    io: Literal["float32", "int8"] = "float32"
    logits: tuple[float, int] | None = None
    batch: Literal["static", "dynamic"] = "static"
    target: Target | None = None
    selftest: SelfTest | None = None


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """What writes files of one format.

    module: its file below `export`, which defines `write(net, order)`, giving the
    Artifact, and `int8_share(path)`, the share of MACs that a file computes in INT8,
    None where it does not tell; dtypes: that it writes; layouts: whether INT8 is laid
    out for one target or another; logits: whether INT8 answers lie on their grid
    always, with INT8 edges only, or never; foretold: what is said before a call that
    shows nothing.
    """

    module: str
    dtypes: frozenset[Dtype]
    logits: Literal["always", "int8 edges", "never"]
    layouts: bool = False
    foretold: str = ""

    def write(self, net: "nn.Module", order: Order) -> Artifact:
        """Write `net` as `order` says; raises what the exporter raises."""
        written: Artifact = self._file().write(net, order)
        return written

    def int8_share(self, path: Path) -> float | None:
        """The share of a file's MACs in INT8, counted in the file itself."""
        share: float | None = self._file().int8_share(path)
        return share

    def _file(self) -> Any:  # noqa: ANN401  # a module, of which two functions are used
        """Import the exporter's own file."""
        return importlib.import_module(f"export.{self.module}")


EXPORTERS: Final[Mapping[Format, Exporter]] = {
    "onnx": Exporter(
        module="to_onnx",
        dtypes=frozenset({"float32", "float16", "int8"}),
        logits="never",
        layouts=True,
    ),
    "tflite": Exporter(
        module="to_tflite",
        dtypes=frozenset({"float32", "float16", "dynamic", "int8"}),
        logits="int8 edges",
        foretold=", converted in one call that says nothing: 15 to 30 s for a "
        "MobileNetV2, longer for larger networks and on a busy machine",
    ),
    "executorch": Exporter(
        module="to_executorch",
        dtypes=frozenset({"float32", "int8"}),
        logits="always",
    ),
}
