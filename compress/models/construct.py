"""Architectures without weights worth having: from a spec to a module."""

from torch import nn

from compress.models.factory import from_factory
from compress.models.names import Resolved, resolve
from compress.models.spec import ModelSpec
from compress.models.stem import small_stem_
from compress.models.surgery.rebuild import rebuilt
from compress.models.surgery.record import UNTOUCHED
from compress.models.width import widened
from runtime.errors import RecipeError


def skeleton(spec: ModelSpec, *, classes: int, size: int) -> nn.Module:
    """The module that `spec` describes, with `classes` outputs for `size` pixels.

    Its weights come from torch's global generator. Logits are a plain tensor in
    training too: auxiliary classifiers are left out. Raises InputRejectedError where
    the surgery of `spec` does not fit its architecture.
    """
    net = _whole(spec, classes=classes, size=size)
    return net if spec.surgery == UNTOUCHED else rebuilt(net, spec.surgery)


def _whole(spec: ModelSpec, *, classes: int, size: int) -> nn.Module:
    """The architecture before any surgery."""
    if spec.origin is not None:
        return spec.origin.fresh()
    if spec.factory is not None:
        return from_factory(spec.factory, classes=classes)
    if spec.plan is not None:
        from compress.models.keras.net import KerasNet
        from compress.models.keras.plan import Plan

        return KerasNet(Plan.from_record(spec.plan).with_outputs(classes))
    resolved = resolve(spec.name)
    net = _plain(resolved, classes=classes, size=size, width=spec.width)
    if spec.stem == "small":
        # Where the last map of the unchanged network is, at a size it surely takes.
        small_stem_(net, name=resolved.name, size=max(size, resolved.size))
    return net


def _plain(resolved: Resolved, *, classes: int, size: int, width: float) -> nn.Module:
    """The network as its library makes it."""
    if resolved.source == "edgepress":
        return _own(resolved.name, classes=classes, width=width)
    if width != 1.0:
        return widened(resolved, classes=classes, width=width)
    if resolved.source == "torchvision":
        return _torchvision(resolved, classes=classes, size=size)
    return _timm(resolved, classes=classes, size=size)


def _own(name: str, *, classes: int, width: float) -> nn.Module:
    """One of compress.models.nets."""
    from compress.models.nets.cifar_resnet import CifarResNet
    from compress.models.nets.lenet import LeNet5

    if name == "lenet5":
        return LeNet5(classes=classes, width=width)
    layers = int(name.removeprefix("cifar_resnet"))
    return CifarResNet(blocks=(layers - 2) // 6, classes=classes, width=width)


def _torchvision(resolved: Resolved, *, classes: int, size: int) -> nn.Module:
    """One of torchvision.models."""
    from compress.context.vision import torchvision

    options: dict[str, object] = {}
    if resolved.name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    elif resolved.name.startswith("vit_"):
        options = {"image_size": size}
    net: nn.Module = torchvision.models.get_model(
        resolved.name, weights=None, num_classes=classes, **options
    )
    return net


def _timm(resolved: Resolved, *, classes: int, size: int) -> nn.Module:
    """One of timm's architectures, for this size where it is built for one size."""
    from compress.context.vision import timm

    options: dict[str, object] = {}
    if (
        size != resolved.size
        and timm.get_pretrained_cfg(resolved.name).fixed_input_size
    ):
        options["img_size"] = size
    try:
        net: nn.Module = timm.create_model(
            resolved.name, pretrained=False, num_classes=classes, **options
        )
    except TypeError as error:
        if not options:
            raise
        raise RecipeError(
            f"size: {resolved.name} works only on {resolved.size}x{resolved.size} "
            f"images, not {size}x{size}; leave the size out or choose another network"
        ) from error
    return net
