"""A network made ready for training: what learns, from which weights, how fast."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.context.vision import timm
from compress.recipe.training import Training
from runtime.errors import RecipeError


def make_ready_(net: nn.Module, options: Training, *, seed: int) -> None:
    """Apply `options` that change the network itself: weights, freezing, memory."""
    if options.init == "he":
        he_init_(net, seed=seed)
    for parameter in frozen_parameters(net, options.freeze):
        parameter.requires_grad_(False)
    if options.freeze_batchnorm:
        for module in batchnorms(net):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise RecipeError("freeze: nothing is left to learn; freeze fewer modules")
    if options.gradient_checkpointing:
        checkpoint_gradients_(net)


def checkpoint_gradients_(net: nn.Module) -> None:
    """Let `net` recompute activations instead of keeping them; timm's can, mostly."""
    try:
        net.set_grad_checkpointing(enable=True)  # type: ignore[operator]  # timm's
    except (AttributeError, AssertionError) as error:  # timm asserts where it cannot
        raise RecipeError(
            f"gradient_checkpointing: {type(net).__name__} does not offer it; leave it "
            "out, or use another network"
        ) from error


def as_before_(net: nn.Module, options: Training) -> None:
    """Undo what was for training only: what was frozen, how memory was saved."""
    net.requires_grad_(True)
    if options.gradient_checkpointing:
        net.set_grad_checkpointing(enable=False)  # type: ignore[operator]  # timm's


def train_mode_(net: nn.Module, options: Training) -> None:
    """Switch to training, except for what `options` keep frozen."""
    net.train()
    if options.freeze_batchnorm:
        for module in batchnorms(net):
            module.eval()
    for name in options.freeze:
        net.get_submodule(name).eval()


def batchnorms(net: nn.Module) -> Iterator[nn.Module]:
    """Every batch normalization of `net`."""
    return (module for module in net.modules() if isinstance(module, _BatchNorm))


def frozen_parameters(net: nn.Module, names: tuple[str, ...]) -> Iterator[nn.Parameter]:
    """The parameters of the modules that `names` name."""
    modules = dict(net.named_modules())
    for name in names:
        if name not in modules or not name:
            top = ", ".join(child for child, _ in net.named_children())
            raise RecipeError(f"freeze: no module {name!r}; the topmost are {top}")
        yield from modules[name].parameters()


def he_init_(net: nn.Module, *, seed: int) -> None:
    """Draw convolutions and linear layers from He et al. 2015, equation 10 (fan in).

    Norms become the identity and biases zero. Fan in is also right for depthwise
    convolutions and for a head of few classes, where fan out is not.
    """
    chance = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_in", nonlinearity="relu", generator=chance
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()


def optimizer_for(net: nn.Module, options: Training) -> torch.optim.Optimizer:
    """The optimizer that resolved `options` describe.

    Biases and norms are not decayed; with `layer_decay` each layer below the head
    carries its share of the rate as `lr_scale` (Howard and Ruder 2018).
    """
    known = hasattr(net, "group_matcher") or hasattr(net, "pretrained_cfg")
    if options.layer_decay is not None and not known:
        raise RecipeError(
            f"layer_decay: the layers of {type(net).__name__} have no known order; "
            "leave it out, or use a timm network"
        )
    # "sgd" is Nesterov's in timm, which torch refuses without momentum.
    plain = options.optimizer == "sgd" and options.momentum == 0
    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        net,
        opt="momentum" if plain else options.optimizer,
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        layer_decay=options.layer_decay,
    )
    return optimizer


def set_rate_(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
