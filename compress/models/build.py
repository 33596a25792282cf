"""From a spec to a model that is ready to be trained or asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from compress.context.console import Console
from compress.models import meta
from compress.models.construct import skeleton
from compress.models.factory import where
from compress.models.heads import known_classes, load_
from compress.models.keras.model import is_keras, plan_of, read_keras
from compress.models.memory_format import memory_format_of
from compress.models.model import Model
from compress.models.names import Resolved, resolve
from compress.models.pretrained import (
    PRETRAINED,
    pretrained_classes,
    pretrained_state,
)
from compress.models.sizing import choose_size, preprocess_for, preprocess_of_factory
from compress.models.spec import ModelSpec
from compress.models.state import install_, load_state
from runtime.errors import RecipeError

__all__ = ["build", "fits", "skeleton"]

# What timm and torchvision build when nobody says otherwise: ImageNet-1k.
_DEFAULT_CLASSES = 1000
# A side that a network of the user's own is tried at when nothing else is known.
_DEFAULT_SIZE = 224
_LEAST_SIZE = 32


def build(  # noqa: PLR0913  # what a model depends on is spelt out
    spec: ModelSpec,
    *,
    classes: tuple[str, ...] | None,
    native_size: int | None,
    seed: int,
    console: Console,
    size: int | None = None,
    shown_size: int | None = None,
) -> Model:
    """The model that `spec` describes, for images of `native_size` pixels.

    `classes` are the labels it is to tell apart; None: as many as its weights know.
    Weights not loaded are drawn from `seed`, and torch's global generator is left as
    it was. `size`, pixels, overrides the choice of the input size. A network of the
    user's own that takes no images of the usual size is tried with `shown_size`, that
    of the images it will be shown. Raises RecipeError for what does not exist,
    InputRejectedError for weights that do not fit.
    """
    if spec.factory is not None:
        sides = [size or max(_LEAST_SIZE, native_size or _DEFAULT_SIZE)]
        if size is None and native_size is None and shown_size is not None:
            sides.append(max(_LEAST_SIZE, shown_size))
        return _from_factory(spec, classes, sides=sides, seed=seed, console=console)
    if is_keras(spec):
        return _from_keras(spec, classes, size=size, seed=seed, console=console)
    resolved = resolve(spec.name)
    if resolved.announcement is not None:
        console.tell(resolved.announcement)
    spec = spec.model_copy(update={"name": resolved.canonical})
    _refuse_widened_pretrained(spec)
    side = choose_size(
        spec, resolved, size=size, native_size=native_size, console=console
    )
    if spec.stem == "small":
        console.tell(
            f"{resolved.name}: small stem: its first stride and pooling are out"
        )
    state = _state(spec, resolved, side, console)
    outputs = _outputs(spec, classes, state, side)
    net = _seeded(spec, outputs, side, seed)
    if state is not None:
        load_(net, spec, state, size=side, console=console)
    return Model(
        spec=spec,
        net=net.eval(),
        preprocess=preprocess_for(resolved, size=side, native_size=native_size),
        classes=classes or tuple(str(index) for index in range(outputs)),
        trained=state is not None,
        memory_format=memory_format_of(net, size=side),
    )


def fits(spec: ModelSpec, classes: tuple[str, ...]) -> bool:
    """Whether the weights of `spec` already end in a head for this many classes.

    Checkpoints do not name their classes, so equal numbers count as equal classes.
    """
    if spec.weights is None:
        return is_keras(spec) and plan_of(spec).outputs == len(classes)
    if spec.weights == PRETRAINED:
        return pretrained_classes(resolve(spec.name)) == len(classes)
    state = load_state(Path(spec.weights), ema=bool(spec.ema))
    if is_keras(spec):
        spec = spec.with_plan(plan_of(spec).as_record())
    known = spec.factory is None and spec.plan is None
    size = resolve(spec.name).size if known else _DEFAULT_SIZE
    return known_classes(spec, state, size) == len(classes)


def _from_factory(
    spec: ModelSpec,
    classes: tuple[str, ...] | None,
    *,
    sides: Sequence[int],
    seed: int,
    console: Console,
) -> Model:
    """A model around a network of the user's own, for the first of `sides` it takes."""
    if spec.weights == PRETRAINED or spec.width != 1.0 or spec.stem != "keep":
        raise RecipeError(
            f"model file: {spec.factory}: published weights, a width multiplier and a "
            "small stem are for known architectures; let the function do it"
        )
    state = None
    if spec.weights is not None:
        state = load_state(Path(spec.weights), ema=bool(spec.ema), tell=console.tell)
    wanted = len(classes) if classes else _DEFAULT_CLASSES
    if classes is None and state is not None:
        wanted = known_classes(spec, state, sides[0]) or wanted
    net = _seeded(spec, wanted, sides[0], seed)
    size, logits = _tried(net, spec, sides)
    console.tell(f"{spec.factory}: input {size}x{size}")
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    outputs = shape[-1] if isinstance(shape, tuple) and shape else 0
    if shape != (2, outputs) or (classes is not None and outputs != len(classes)):
        raise RecipeError(
            f"model file: {spec.factory}: gives {shape} for two images; expected "
            f"logits [2, {wanted}]; let the function take num_classes and return that"
        )
    if state is not None:
        load_(net, spec, state, size=size, console=console)
    return Model(
        spec=spec,
        net=net.eval(),
        preprocess=preprocess_of_factory(size),
        classes=classes or tuple(str(index) for index in range(int(outputs))),
        trained=state is not None,
        memory_format=memory_format_of(net, size=size),
    )


def _tried(net: nn.Module, spec: ModelSpec, sides: Sequence[int]) -> tuple[int, object]:
    """The first of `sides` whose images a user's network takes, and its answer to two.

    Raises RecipeError that names the line of the user's file for the first of them.
    """
    refused = []
    for size in sides:
        try:
            with torch.no_grad(), meta.evaluating(net):
                logits = net(torch.zeros(2, 3, size, size))
        except Exception as error:  # noqa: BLE001, PERF203  # the user's code
            refused.append(error)
        else:
            return size, logits
    raise RecipeError(
        f"model file: {spec.factory}: fails on images [2, 3, {sides[0]}, {sides[0]}]: "
        f"{where(refused[0], str(spec.factory))}; name the side it takes with "
        "--image-size"
    ) from refused[0]


def _from_keras(
    spec: ModelSpec,
    classes: tuple[str, ...] | None,
    *,
    size: int | None,
    seed: int,
    console: Console,
) -> Model:
    """A model from a Keras file; its spec keeps the layers, so the file may go."""
    found = read_keras(spec, size=size, console=console)
    side = found.preprocess.size
    outputs = len(classes) if classes else found.outputs
    net = _seeded(found.spec, outputs, side, seed)
    if found.state is not None and outputs == found.outputs and not spec.weights:
        install_(net, found.state, origin=spec.name)
    elif found.state is not None:
        load_(net, found.spec, found.state, size=side, console=console)
    return Model(
        spec=found.spec,
        net=net.eval(),
        preprocess=found.preprocess,
        classes=classes or tuple(str(index) for index in range(outputs)),
        trained=found.state is not None,
        memory_format=memory_format_of(net, size=side),
    )


def _refuse_widened_pretrained(spec: ModelSpec) -> None:
    """Published weights exist for published widths only."""
    if spec.weights == PRETRAINED and spec.width != 1.0:
        raise RecipeError(
            f"weights: {spec.name} has published weights at width 1 only, not "
            f"{spec.width:g}; leave one of the two options out"
        )


def _state(
    spec: ModelSpec, resolved: Resolved, size: int, console: Console
) -> dict[str, Tensor] | None:
    """The weights the spec names, wherever they are."""
    if spec.weights is None:
        return None
    if spec.weights == PRETRAINED:
        return pretrained_state(resolved, size=size, console=console)
    return load_state(Path(spec.weights), ema=bool(spec.ema), tell=console.tell)


def _outputs(
    spec: ModelSpec,
    classes: tuple[str, ...] | None,
    state: Mapping[str, Tensor] | None,
    size: int,
) -> int:
    """How many logits the network shall give."""
    if classes:
        return len(classes)
    known = None if state is None else known_classes(spec, state, size)
    return known or _DEFAULT_CLASSES


def _seeded(spec: ModelSpec, classes: int, size: int, seed: int) -> nn.Module:
    """A fresh network whose weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return skeleton(spec, classes=classes, size=size)
