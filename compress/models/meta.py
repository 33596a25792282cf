"""Networks without memory: shapes flow, numbers do not; so looking costs nothing."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def on_meta(net: nn.Module) -> nn.Module:
    """A copy of `net` whose parameters and buffers have shapes but no memory."""
    memo: dict[int, object] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(
            parameter.detach().to("meta"), requires_grad=parameter.requires_grad
        )
    for buffer in net.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(net, memo)


def images(count: int, size: int) -> Tensor:
    """Float32 [count, 3, size, size] without memory."""
    return torch.empty(count, 3, size, size, device="meta")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """`net` in eval mode, and afterwards every module in the mode it had."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def located(net: nn.Module) -> Iterator[Callable[[], str]]:
    """What names the module of `net` that is at work: after an error, the culprit."""
    entered: list[str] = []
    handles = []
    for name, module in net.named_modules():

        def enter(*_: object, name: str = name) -> None:
            entered.append(name)

        def leave(*_: object) -> None:
            entered.pop()

        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave),
        ]
    try:
        yield lambda: next(filter(None, reversed(entered)), type(net).__name__)
    finally:
        for handle in handles:
            handle.remove()


# What a network that does not take an image says of it.
_CANNOT_RUN = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    ArithmeticError,
)


def largest_value(net: nn.Module, size: int) -> int:
    """Of all that the modules of a network on the meta device give: the most numbers.

    For one image; up to where it fails, if it does.
    """
    found = 0

    def watch(_: nn.Module, __: object, answer: object) -> None:
        nonlocal found
        if isinstance(answer, Tensor):
            found = max(found, answer.numel())

    handles = [each.register_forward_hook(watch) for each in net.modules()]
    try:
        outputs(net, size)
    finally:
        for handle in handles:
            handle.remove()
    return found


def outputs(net: nn.Module, size: int) -> int | None:
    """How many logits a network on the meta device gives; None: it cannot run so."""
    try:
        with torch.no_grad(), evaluating(net):
            answer = net(images(1, size))
    except _CANNOT_RUN:
        return None  # too small for a kernel, or not the size the net was built for
    if not isinstance(answer, Tensor) or answer.dim() != 2:  # noqa: PLR2004  # [n, k]
        return None
    return answer.shape[1]


Windowed = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


def strided_modules(net: nn.Module, size: int) -> list[tuple[str, Windowed, int]]:
    """Convolutions and poolings as they run: name, module, side of what it gives."""
    seen: list[tuple[str, Windowed, int]] = []

    def watch(name: str, module: Windowed) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, __: object, answer: object) -> None:
            if isinstance(answer, Tensor) and answer.dim() == 4:  # noqa: PLR2004  # NCHW
                seen.append((name, module, min(answer.shape[-2:])))

        return module.register_forward_hook(hook)

    handles = [watch(n, m) for n, m in net.named_modules() if isinstance(m, Windowed)]
    try:
        with torch.no_grad(), evaluating(net):
            net(images(1, size))
    finally:
        for handle in handles:
            handle.remove()
    return seen
