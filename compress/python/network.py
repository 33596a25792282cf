"""From a network that a program holds to a model that every stage takes."""

import copy
from dataclasses import replace
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, jit, nn

from compress.data.dataset import Dataset
from compress.models import meta
from compress.models.construct import skeleton
from compress.models.memory_format import memory_format_of
from compress.models.model import Model
from compress.models.network import int8_of
from compress.models.origin import Origin
from compress.models.spec import ModelSpec
from compress.python.result import Result
from runtime.errors import RecipeError, one_line
from runtime.preprocess import Preprocess

Network: TypeAlias = nn.Module | Result

# What is known of the networks that results gave, around an empty one.
_KNOWN: Final[WeakKeyDictionary[nn.Module, Model]] = WeakKeyDictionary()


def result_of(model: Model, **found: object) -> Result:
    """A result around `model`, whose network is known again when it comes back."""
    _KNOWN[model.net] = model.with_net(nn.Identity())
    return Result(model=model, **found)  # type: ignore[arg-type]  # its fields


def model_of(
    net: Network,
    data: Dataset | None,
    *,
    size: int | None = None,
    preprocess: Preprocess | None = None,
) -> Model:
    """A model around a copy of `net`, fed as it is known to be, or as is said here.

    What is known of a result stays: its record, its preprocessing. Another network is
    fed images of `size` pixels, by default those of `data`, as values from 0 to 1. Its
    classes are those of `data` where it has as many outputs, else numbers. Raises
    RecipeError where it cannot be copied, or does not take such images.
    """
    module = net.net if isinstance(net, Result) else net
    before = net.model if isinstance(net, Result) else known(module)
    own = copied(module)
    how = before.preprocess if before else None
    if preprocess is not None or how is None:
        how = preprocess or plain(size or (data.native_size if data else None), own)
    if size is not None:
        how = replace(how, size=size, resize=max(size, how.resize))
    if data is not None:
        how = data.asked(how)
    outputs = outputs_of(own, how.size)
    classes = tuple(str(index) for index in range(outputs))
    if before is not None:
        classes = before.classes
    if data is not None and len(data.classes) == outputs:
        classes = data.classes
    if before is not None:
        return replace(before, net=own, preprocess=how, classes=classes)
    origin = Origin(module=own)
    return Model(
        spec=ModelSpec(name=origin.name).with_origin(origin),
        net=origin.fresh(),
        preprocess=how,
        classes=classes,
        trained=True,
        memory_format=memory_format_of(own, size=how.size),
    )


def known(net: nn.Module) -> Model | None:
    """The model of a network that a result gave, if it has its shape still."""
    model = _KNOWN.get(net)
    if model is None or int8_of(net) is not None:
        return model
    size = model.preprocess.size
    made = skeleton(model.spec, classes=len(model.classes), size=size)
    return model if _shapes(made) == _shapes(net) else None


def copied(net: nn.Module) -> nn.Module:
    """A copy of `net`, float32, on the CPU, in eval mode; else a RecipeError."""
    name = type(net).__name__
    if not isinstance(net, nn.Module):
        raise RecipeError(
            f"net: is a {name}; expected a torch.nn.Module, or what a function here "
            "gave back"
        )
    if isinstance(net, jit.ScriptModule) or hasattr(net, "_orig_mod"):
        raise RecipeError(
            f"{name}: its layers cannot be changed; give the module as it was before "
            "torch.jit or torch.compile"
        )
    try:
        return copy.deepcopy(net).cpu().float().eval()
    except Exception as error:  # the user's class may do anything
        raise RecipeError(f"{name}: cannot be copied: {one_line(error)}") from error


def plain(size: int | None, net: nn.Module) -> Preprocess:
    """Values from 0 to 1 as torchvision's ToTensor gives them, and no crop."""
    if size is None:
        raise RecipeError(
            f"{type(net).__name__}: which images does it take? Give size=, or data"
        )
    return Preprocess(size=size, resize=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def outputs_of(net: nn.Module, size: int) -> int:
    """How many scores `net` gives for an image [3, size, size]; else a RecipeError."""
    name, shape = type(net).__name__, [2, 3, size, size]
    try:
        with torch.no_grad(), meta.evaluating(net):
            answer = net(torch.zeros(shape))
    except Exception as error:  # as above
        raise RecipeError(
            f"{name}: fails on images {shape}: {one_line(error)}; give the side that "
            "it takes as size="
        ) from error
    found = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if not isinstance(answer, Tensor) or answer.dim() != 2 or len(answer) != 2:  # noqa: PLR2004  # [2, outputs]
        raise RecipeError(
            f"{name}: gives {found} for two images; expected scores [2, classes]"
        )
    return answer.shape[1]


def _shapes(net: nn.Module) -> dict[str, torch.Size]:
    """The shape of every tensor, by name."""
    return {name: tensor.shape for name, tensor in net.state_dict().items()}
