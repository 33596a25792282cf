"""Whole residual blocks: which there are, and which ones a network misses least."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress.context.progress import passed, rounds
from compress.models.surgery.rebuild import rebuilt
from compress.models.surgery.record import Surgery
from compress.training.statistics import Batches
from runtime.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Shortened:
    """A network without some blocks, and the order in which they went."""

    net: nn.Module
    removed: tuple[str, ...]


def without_blocks(net: nn.Module, count: int, images: Batches) -> Shortened:
    """`net` with `count` residual blocks replaced by the identity.

    One by one, each time the block whose loss changes the answers least, as the mean
    squared difference of the logits on `images`. Raises RecipeError where there are
    not so many that give maps of the shape they take.
    """
    found = residual_blocks(net, next(images())[:1])
    if len(found) < count:
        raise RecipeError(
            f"prune: blocks: {count} asked for, but only {len(found)} residual blocks "
            f"give what they take ({', '.join(found) or 'none'}); ask for fewer"
        )
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        wanted = [net(batch) for batch in passed("judging", images())]
    removed: list[str] = []
    while len(removed) < count:
        error = {
            name: _error(rebuilt(net, Surgery(removed=(name,))), wanted, batches)
            for name, batches in rounds(
                "what each block is worth",
                [name for name in found if name not in removed],
                images,
            )
        }
        removed.append(min(error, key=lambda name: error[name]))
        net = rebuilt(net, Surgery(removed=(removed[-1],)))
    return Shortened(net=net, removed=tuple(removed))


def residual_blocks(net: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Modules that add something to what they are given, of the same shape.

    Found by asking: with every parameter of it zero, such a block still passes on its
    input, if not the sign of it; only the innermost of nested ones count.
    """
    shapes: dict[str, tuple[Tensor, torch.Size]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[object, ...], answer: object) -> None:
            maps = given[0] if len(given) == 1 else None
            if isinstance(maps, Tensor) and isinstance(answer, Tensor):
                shapes.setdefault(name, (maps.clone(), answer.shape))

        return hook

    asked = copy.deepcopy(net).eval()
    handles = [
        module.register_forward_hook(watch(name))
        for name, module in asked.named_modules()
        if name and any(True for _ in module.children())
    ]
    with torch.no_grad():
        asked(image)
    for handle in handles:
        handle.remove()
    passing = [
        name
        for name, (given, shape) in shapes.items()
        if given.shape == shape and _passes_on(asked.get_submodule(name), given)
    ]
    return tuple(
        sorted(_innermost(passing), key=list(dict(asked.named_modules())).index)
    )


def _passes_on(block: nn.Module, given: Tensor) -> bool:
    """Whether a block without any weight still lets its input through."""
    if not any(True for _ in block.parameters()):
        return False
    empty = copy.deepcopy(block)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in empty.parameters():
            parameter.zero_()
        shown = torch.rand(given.shape, generator=rng) + 0.5
        answer = empty(shown)
    # A gate of sigmoids may scale what passes; nothing else may happen to it.
    ratio = answer / shown
    return bool((ratio > 0).all() and ratio.std() < 1e-3 * ratio.mean())


def _innermost(names: list[str]) -> Iterator[str]:
    """Those that contain no other."""
    for name in names:
        if not any(other.startswith(f"{name}.") for other in names):
            yield name


def _error(net: nn.Module, wanted: list[Tensor], images: Iterable[Tensor]) -> float:
    """Mean squared difference of the logits."""
    with torch.no_grad():
        errors = [
            float((net(batch) - answer).square().mean())
            for batch, answer in zip(images, wanted, strict=True)
        ]
    return sum(errors) / len(errors)
