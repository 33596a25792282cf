"""From a Keras file to what a model is made of: its layers, weights, what it is fed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from compress.context.console import Console
from compress.models import meta
from compress.models.keras.draft import Draft
from compress.models.keras.file import ENDINGS, opened
from compress.models.keras.graph import graph_of
from compress.models.keras.layers import LAYERS
from compress.models.keras.net import KerasNet
from compress.models.keras.plan import Plan
from compress.models.pretrained import PRETRAINED
from compress.models.spec import ModelSpec
from compress.models.state import load_state
from runtime.errors import InputRejectedError, RecipeError
from runtime.preprocess import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LARGEST_SIDE,
    Preprocess,
)

# The side of an image where the file leaves it open, pixels.
_DEFAULT_SIDE: Final = 224
_COLORS: Final = 3
# 400 MB of float32; a network for photographs of 1000 x 1000 makes 64 million.
LARGEST_VALUE: Final = 100_000_000
# Mean and deviation, of values in [0, 1], that make pixels what they are to be.
_NORMALIZED: Final[
    dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]]
] = {
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "raw": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
}


@dataclass(frozen=True, kw_only=True)
class Translated:
    """A Keras file in torch's words; `dropped` is a final softmax, by name."""

    plan: Plan
    state: dict[str, Tensor]
    dropped: str | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a model is made of; `state` is None where nothing has weights for it."""

    spec: ModelSpec
    state: dict[str, Tensor] | None
    preprocess: Preprocess
    outputs: int


def read_keras(spec: ModelSpec, *, size: int | None, console: Console) -> Source:
    """Read what `spec` names; the spec that is returned needs the file no more.

    Raises RecipeError for options that a Keras file does not have.
    """
    changed = (spec.width, spec.resolution, spec.stem) != (1.0, 1.0, "keep")
    if changed or spec.weights == PRETRAINED:
        raise RecipeError(
            f"model: {spec.name}: published weights and multipliers of width or "
            "resolution are for known architectures; a Keras file comes as it is"
        )
    state = None
    if spec.weights is not None:
        state = load_state(Path(spec.weights), ema=bool(spec.ema), tell=console.tell)
    if spec.plan is not None:
        plan = plan_of(spec)
    else:
        found = translated(Path(_parts(spec.name)[0]))
        plan, state = found.plan, found.state if state is None else state
        if found.dropped is not None:
            console.tell(
                f"{spec.name}: the softmax {found.dropped!r} at its end is left out, "
                "so that the network gives logits"
            )
    plan = replace(plan, side=_side_for(spec, plan, size=size))
    name = Path(spec.name).name
    return Source(
        spec=spec.model_copy(update={"name": name}).with_plan(plan.as_record()),
        state=state,
        preprocess=_preprocess(spec, plan, console=console),
        outputs=plan.outputs,
    )


def is_keras(spec: ModelSpec) -> bool:
    """Whether `spec` names a Keras file, or a saved model that was made from one."""
    return spec.plan is not None or _parts(spec.name)[0].endswith(ENDINGS)


def plan_of(spec: ModelSpec) -> Plan:
    """The layers of a saved model, or those of the file that `spec` names."""
    if spec.plan is not None:
        return Plan.from_record(spec.plan)
    return translated(Path(_parts(spec.name)[0])).plan


def _parts(name: str) -> tuple[str, str | None]:
    """`net.h5:unit` as the file and what its network is fed, if that is said."""
    file, _, said = name.rpartition(":")
    if not file.endswith(ENDINGS):
        return name, None
    if said not in _NORMALIZED:
        raise RecipeError(
            f"model: {name}: unknown scaling {said!r}; known: {', '.join(_NORMALIZED)}"
        )
    return file, said


def translated(path: Path) -> Translated:
    """Read a Keras file; none of its code is run.

    Raises InputRejectedError for what is no image classifier or cannot be translated.
    """
    with opened(path) as file:
        graph = graph_of(file)
        side = _side(graph.shape, path)
        draft = Draft(file.weights)
        values: dict[str, str] = {}
        for call in graph.calls:
            layer = call.layer
            if layer.kind not in LAYERS:
                raise layer.refusal(
                    "holds Python code, which is never executed; save the model with "
                    "layers of Keras instead"
                    if layer.kind == "Lambda"
                    else "is not translated; build the model of layers that are, such "
                    "as Conv2D, BatchNormalization, ReLU and Dense"
                )
            draft.begin(call.name)
            operands = [
                values.get(each, each) if isinstance(each, str) else each
                for each in call.operands
            ]
            values[call.name] = LAYERS[layer.kind](draft, layer, operands)
    output = values.get(graph.output, graph.output)
    plan = Plan(steps=tuple(draft.steps), output=output, outputs=0, side=side)
    plan, dropped = plan.without_softmax()
    plan = replace(plan, outputs=_outputs(plan, draft.state, path))
    return Translated(plan=plan, state=draft.state, dropped=dropped)


def _preprocess(spec: ModelSpec, plan: Plan, *, console: Console) -> Preprocess:
    """How images are made what the network takes; told, for the file does not say."""
    size, first = plan.side or _DEFAULT_SIDE, plan.first
    inside = first is not None and first.kind in {"affine", "merge"}
    said = _parts(spec.name)[1]
    mean, std = _NORMALIZED[said or ("raw" if inside else "signed")]
    if said is None:
        reason = "it scales them itself" if inside else "as most Keras networks want it"
        values = "0 to 255" if inside else "-1 to 1"
        console.tell(
            f"{spec.name}: input {size}x{size}, pixels from {values}, {reason}; "
            f"{spec.name}:SCALING says otherwise ({', '.join(_NORMALIZED)})"
        )
    return Preprocess(size=size, resize=size, mean=mean, std=std)


def _side_for(spec: ModelSpec, plan: Plan, *, size: int | None) -> int:
    """The input side, pixels; raises RecipeError where the network cannot take it."""
    side = size or plan.side or _DEFAULT_SIDE
    with torch.device("meta"):
        net = KerasNet(plan)
    check_values(net, side, path=spec.name)
    if meta.outputs(net, side) is None:
        raise RecipeError(
            f"size: {spec.name} cannot run on {side}x{side} images; it was made for "
            f"{plan.side or 'another size'}"
        )
    return side


def _side(shape: tuple[int | None, ...], path: Path) -> int | None:
    """The side of the image that a network takes."""
    match shape:
        case [high, wide, channels] if channels == _COLORS and high == wide:
            if high is None or 1 <= high <= LARGEST_SIDE:
                return high
    raise InputRejectedError(
        f"{path}: takes {list(shape)!s:.80}; allowed: square color images "
        f"[n, n, {_COLORS}] of up to {LARGEST_SIDE} pixels"
    )


def check_values(net: nn.Module, side: int, *, path: Path | str) -> None:
    """Refuse layers that make more of an image than memory holds, before they do.

    `net` is on the meta device.
    """
    found = meta.largest_value(net, side)
    if found > LARGEST_VALUE:
        raise InputRejectedError(
            f"{path}: a layer makes {found} numbers of one image of {side}x{side}; "
            f"allowed: {LARGEST_VALUE}"
        )


def _outputs(plan: Plan, state: dict[str, Tensor], path: Path) -> int:
    """How many classes a network scores; refused where it scores none.

    Its weights must be those that its layers want.
    """
    with torch.device("meta"):
        net = KerasNet(plan)
    shapes = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    for name, tensor in state.items():
        if shapes.get(name) != tuple(tensor.shape):
            raise InputRejectedError(
                f"{path}: {name} is of shape {list(tensor.shape)}, the layer wants "
                f"{list(shapes.get(name, ()))}; the file is corrupt"
            )
    side = plan.side or _DEFAULT_SIDE
    check_values(net, side, path=path)
    outputs = meta.outputs(net, side)
    if outputs is None or outputs < 2:  # noqa: PLR2004  # a classifier has a choice
        found = "no row of scores" if outputs is None else f"{outputs} score"
        raise InputRejectedError(
            f"{path}: gives {found} for an image; allowed: one score for each of two "
            "classes or more"
        )
    return outputs
