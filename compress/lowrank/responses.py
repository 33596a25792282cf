"""Layers watched at work, and the fit of their products to what they give."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, cast

import torch
from torch import Tensor, nn

from compress.context.progress import rounds
from compress.lowrank.layers import weight_of
from compress.quantization.calibrate import Batches

# How firmly a fit holds on to what it starts from, a share of the mean energy.
_RIDGE: Final = 1e-3


def shapes_of(
    net: nn.Module, layers: Mapping[str, nn.Module], *, size: int
) -> dict[str, tuple[int, ...]]:
    """The shape of what each layer is given for one image [1, 3, size, size]."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, _: nn.Module, given: Tensor, __: Tensor) -> None:
        found[name] = tuple(given.shape)

    with watched(layers, note), torch.inference_mode():
        net(torch.zeros(1, 3, size, size))
    return found


def refitted_(
    net: nn.Module, dense: nn.Module, names: tuple[str, ...], images: Batches
) -> None:
    """Fit the last part of each product in `net` to what its layer gives in `dense`.

    One after the other, in the order of `names`, each on what the products before it
    make of the images, so that errors do not add up (Zhang et al. 2016, section 3.2):
    least squares for weight and bias, with a pull towards what they are.
    """
    for name, batches in rounds("fitting products", names, images):
        product = cast("nn.Sequential", net.get_submodule(name))
        _fit_(net, dense, name, product[-1], batches)


def _fit_(
    net: nn.Module,
    dense: nn.Module,
    name: str,
    last: nn.Module,
    images: Iterable[Tensor],
) -> None:
    """Least squares of one layer's responses over all images."""
    bias = cast("Tensor | None", last.bias)
    start = weight_of(last).detach().flatten(1).double()
    if bias is not None:
        start = torch.cat([start, bias.detach().double()[:, None]], dim=1)
    size = start.shape[1]
    squares = torch.zeros(size, size, dtype=torch.float64)
    products = torch.zeros(size, len(start), dtype=torch.float64)
    given: list[Tensor] = []
    wanted: list[Tensor] = []

    def note_given(_: str, layer: nn.Module, shown: Tensor, __: Tensor) -> None:
        rows = rows_of(layer, shown).double()
        ones = torch.ones_like(rows[:, :1])
        given.append(rows if bias is None else torch.cat([rows, ones], dim=1))

    def note_wanted(_: str, layer: nn.Module, __: Tensor, found: Tensor) -> None:
        wanted.append(rows_of(layer, found).double())

    with (
        watched({name: last}, note_given),
        watched({name: dense.get_submodule(name)}, note_wanted),
        torch.inference_mode(),
    ):
        for batch in images:
            dense(batch)
            net(batch)
            for rows, found in zip(given, wanted, strict=True):
                squares += rows.T @ rows
                products += rows.T @ found
            given.clear()
            wanted.clear()
    ridge = _RIDGE * squares.diagonal().mean().clamp(min=1e-30)
    matrix = squares + ridge * torch.eye(size, dtype=torch.float64)
    change = torch.linalg.solve(matrix, products - squares @ start.T).T
    fitted = (start + change).float()
    with torch.no_grad():
        weight = weight_of(last)
        if bias is not None:
            bias.copy_(fitted[:, -1])
            fitted = fitted[:, :-1]
        weight.copy_(fitted.reshape(weight.shape))


Watch = Callable[[str, nn.Module, Tensor, Tensor], None]


@contextmanager
def watched(layers: Mapping[str, nn.Module], watch: Watch) -> Iterator[None]:
    """Tell `watch` the name, the layer, what it is given and what it gives."""

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda layer, given, found: watch(name, layer, given[0], found)

    hooks = [
        layer.register_forward_hook(hook_for(name)) for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rows_of(layer: nn.Module, values: Tensor) -> Tensor:
    """What a layer reads or gives as rows of channels.

    values: [n, c, h, w] of a convolution, [n, …, c] of a linear layer.
    """
    if isinstance(layer, nn.Conv2d):
        values = values.movedim(1, -1)
    return values.reshape(-1, values.shape[-1])
