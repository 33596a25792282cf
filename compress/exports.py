"""Which files a run writes of a model, and the writing of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compress.int8.simulate import QuantizedNet, with_qdq
from compress.measuring import machine_for, runtime_for
from compress.models.model import Model
from compress.recipe import Export
from export.exporters import EXPORTERS, Order
from runtime.artifact import SUFFIXES, Artifact, Dtype, Format
from runtime.backends.table import backend
from runtime.errors import RecipeError
from runtime.files import file_name
from runtime.machine import Machine
from runtime.selftest import SelfTest
from runtime.target import LOCAL, Target, int8_target, target

if TYPE_CHECKING:
    from compress.int8.grids import Grid


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is to be written: of which model, how, and for whom.

    target: the device whose integer kernels an INT8 ONNX file is laid out for; half:
    whether what is float around INT8 is float16; runs_here: whether what measures it is
    what it was laid out for.
    """

    role: str
    model: Model
    format: Format
    dtype: Dtype
    target: Target | None = None
    half: bool = False
    runs_here: bool = True

    @property
    def name(self) -> str:
        """The file's name: role, model, and what distinguishes it from others."""
        stem = f"{self.role}-{file_name(self.model.spec.name)}"
        parts = [stem] if self.dtype == "float32" else [stem, self.dtype]
        if self.half:
            parts.append("fp16")
        if self.layout is not None:
            parts.append(self.layout)
        return f"{'-'.join(parts)}{SUFFIXES[self.format]}"

    @property
    def layout(self) -> str | None:
        """What the file's name and its facts say of the device."""
        chosen = None if self.target is None else self.target.layout
        return None if chosen is None else chosen.name

    @property
    def reference(self) -> nn.Module:
        """The network that the file has to answer like."""
        net = self.model.net
        if isinstance(net, QuantizedNet) and self.dtype != "int8":
            return net.graph
        return net

    @property
    def told(self) -> str:
        """What is said before it is written; a call that shows nothing is foretold."""
        return f"{self.name}{EXPORTERS[self.format].foretold}"


def runs_on(machine: Machine, target: Target) -> bool:
    """Whether INT8 ONNX files for `target` are what `machine` wants, too."""
    return target.layout == int8_target(machine).layout


def _runs_there(export: Export, format_: Format, chosen: Target | None) -> bool:
    """Whether what measures files of `export` takes those of a format for `chosen`."""
    if (runtime := runtime_for(export)) is not None:
        known = format_ in backend(runtime).formats
        return known and (chosen is None or chosen.rounds_reads)
    return chosen is None or runs_on(machine_for(export), chosen)


def wanted(role: str, model: Model, export: Export) -> Iterator[Wanted]:
    """Every file of `model` that `export` asks for; the one to ship here comes first.

    A quantised network is written in INT8 unless the recipe says otherwise. INT8 of a
    network that is not quantised is a RecipeError.
    """
    quantised = isinstance(model.net, QuantizedNet)
    dtypes = export.dtype or _dtypes(export, quantised=quantised)
    if "int8" in dtypes and not quantised:
        raise RecipeError(
            f"export: {model.spec.name} is a float model, an INT8 file needs a "
            "quantised one; run `compress quantize` first and export its run"
        )
    found = [
        each
        for format_ in formats_of(export)
        for dtype in dtypes
        if dtype in EXPORTERS[format_].dtypes
        for each in _variants(role, model, format_, dtype, export)
    ]
    if not found:
        raise RecipeError(
            f"export: no format of {', '.join(export.to)} is written in "
            f"{', '.join(dtypes)}; dynamic is TFLite's"
        )
    if export.around is not None and quantised and not any(e.half for e in found):
        raise RecipeError(
            "export: --around float16 is for INT8 files of TensorRT; name --target "
            "jetson-orin, or give --dtype float16 for a float file"
        )
    yield from sorted(
        found, key=lambda each: (not each.runs_here, each.dtype != "int8")
    )


def _dtypes(export: Export, *, quantised: bool) -> tuple[Dtype, ...]:
    """Numbers of files where the recipe does not say: those of its devices."""
    if not quantised:
        return ("float32",)
    named = {name: target(name).dtype for name in export.target if name != LOCAL}
    return tuple(dict.fromkeys(named.values())) or ("int8",)


def formats_of(export: Export) -> tuple[Format, ...]:
    """The formats asked for, and those that the named targets read."""
    named = (target(name).format for name in export.target)
    return tuple(dict.fromkeys((*export.to, *named)))


def _variants(
    role: str, model: Model, format_: Format, dtype: Dtype, export: Export
) -> Iterator[Wanted]:
    """One file, or one for each target that wants its INT8 laid out its own way."""
    laid_out = dtype == "int8" and EXPORTERS[format_].layouts
    for each in onnx_targets(export) if laid_out else (None,):
        yield Wanted(
            role=role,
            model=model,
            format=format_,
            dtype=dtype,
            target=each,
            half=each is not None and each.rounds_reads and export.around == "float16",
            runs_here=_runs_there(export, format_, each),
        )


def rounds_answer(asked: Wanted, export: Export) -> bool:
    """Whether a file gives its logits on their grid: int8 at its edge, or XNNPACK's."""
    if asked.dtype != "int8":
        return False
    rounds = EXPORTERS[asked.format].logits
    return rounds == "always" or (rounds == "int8 edges" and export.io == "int8")


def onnx_targets(export: Export) -> list[Target]:
    """Whose INT8 ONNX files are asked for, one a layout; else what measures them."""
    here = int8_target(machine_for(export))
    named = [here if name == LOCAL else target(name) for name in export.target]
    chosen = {each.layout: each for each in reversed(named) if each.layout is not None}
    return list(reversed(chosen.values())) or [here]


def write(  # noqa: PLR0913  # what a file is made of
    asked: Wanted,
    folder: Path,
    *,
    export: Export,
    recipe: str,
    left_float: frozenset[str] = frozenset(),
    selftest: SelfTest | None = None,
) -> Artifact:
    """Write one file into `folder`; `recipe` is the digest of the run's recipe.

    left_float: nodes that this file computes in float though they have grids; selftest:
    what it carries to be checked by on a device.
    """
    model, path = asked.model, folder / asked.name
    net: nn.Module = asked.reference
    logits: Grid | None = None
    if isinstance(net, QuantizedNet):
        logits = net.scheme.logits
        net = with_qdq(net.graph, net.scheme.without(left_float))
    order = Order(
        path=path,
        dtype=asked.dtype,
        size=model.preprocess.size,
        classes=model.classes,
        preprocess=model.preprocess,
        recipe_sha256=recipe,
        name=model.spec.name,
        half=asked.half or asked.dtype == "float16",
        io=export.io if asked.dtype == "int8" else "float32",
        logits=logits,
        batch=export.batch,
        target=asked.target,
        selftest=selftest,
    )
    return EXPORTERS[asked.format].write(net, order)
