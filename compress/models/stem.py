"""A stem for small images: the first halvings of the input are taken out.

Weights keep their shapes, so any checkpoint of the architecture still loads.
"""

from torch import nn

from compress.models import meta
from runtime.errors import RecipeError

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def small_stem_(net: nn.Module, *, name: str, size: int) -> None:
    """Let the first strided convolution of `net` step by 1; drop a pooling after it.

    `size`, pixels, is one at which the unchanged network runs. Raises RecipeError
    where the network starts otherwise than with a strided convolution.
    """
    shadow = meta.on_meta(net)
    if meta.outputs(shadow, size) is None:
        raise _built_for_one_size(name)
    strided = [
        (path, module)
        for path, module, _ in meta.strided_modules(shadow, size)
        if module.stride not in (1, (1, 1))
    ]
    if not strided or not isinstance(strided[0][1], nn.Conv2d):
        raise RecipeError(
            f"stem: {name} has no strided convolution at its start to be made small; "
            "leave the option out, or choose the resolution instead"
        )
    stem = strided[0][0]
    pool = next((p for p, m in strided[1:2] if isinstance(m, _POOLS)), None)
    for dropped in (pool, None):
        trial = meta.on_meta(net)
        _apply_(trial, stem, dropped)
        if meta.outputs(trial, size) is not None:
            _apply_(net, stem, dropped)
            return
    raise _built_for_one_size(name)


def _built_for_one_size(name: str) -> RecipeError:
    """The error for a network whose later layers know the size of their maps."""
    return RecipeError(
        f"stem: {name} is built for one input size and cannot do with another stem; "
        "leave the option out, or choose the resolution instead"
    )


def _apply_(net: nn.Module, stem: str, pool: str | None) -> None:
    """Change the stem, and drop the pooling if there is one."""
    convolution = net.get_submodule(stem)
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError(f"{stem} is {type(convolution).__name__}, not a convolution")
    convolution.stride = (1, 1)
    if pool is not None:
        net.set_submodule(pool, nn.Identity())
