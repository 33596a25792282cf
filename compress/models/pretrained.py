"""Published weights from the hubs of timm and torchvision; the network is named."""

import os
import socket
import urllib.request
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from compress.context.console import Console
from compress.models.names import Resolved
from runtime.errors import RecipeError

PRETRAINED: Final = "pretrained"
_HUB: Final = "huggingface.co"
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def pretrained_classes(resolved: Resolved) -> int:
    """How many classes the published weights of a network tell apart."""
    from compress.context.vision import timm

    if resolved.source == "timm":
        return int(timm.get_pretrained_cfg(resolved.name).num_classes)
    return 1000  # every classifier of torchvision.models is trained on ImageNet-1k


def pretrained_state(
    resolved: Resolved, *, size: int, console: Console
) -> dict[str, Tensor]:
    """Published weights, from the local cache or the network.

    Raises RecipeError where there are none, or where the network is needed and cannot
    be reached or is forbidden (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE).
    """
    if resolved.source == "edgepress":
        raise RecipeError(
            f"weights: {resolved.name} has no published weights to fetch; "
            "give a file with --weights PATH"
        )
    cached = _is_cached(resolved)
    if not cached and any(os.environ.get(name) in ("1", "true") for name in _OFFLINE):
        raise _unreachable(resolved, "HF_HUB_OFFLINE forbids the network")
    if not cached and _has_no_network():
        raise _unreachable(resolved, "this machine has no connection to the hub")
    if not cached:
        console.tell(
            f"{resolved.name}: fetching published weights; this needs the network"
        )
    try:
        return _fetched(resolved, size)
    except Exception as error:  # the hubs raise whatever their HTTP library raises
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise _unreachable(resolved, reason) from error


def _fetched(resolved: Resolved, size: int) -> dict[str, Tensor]:
    """Ask the hub of the network's library."""
    from compress.context.vision import timm, torchvision

    if resolved.source == "torchvision":
        weights = torchvision.models.get_model_weights(resolved.name).DEFAULT
        state: dict[str, Tensor] = weights.get_state_dict(progress=False)
        return state
    options: dict[str, object] = {}
    if (
        timm.get_pretrained_cfg(resolved.name).fixed_input_size
        and size != resolved.size
    ):
        options["img_size"] = size
    net = timm.create_model(resolved.name, pretrained=True, **options)
    fetched: dict[str, Tensor] = net.state_dict()
    return fetched


def _is_cached(resolved: Resolved) -> bool:
    """Whether the weights are on this machine already; never asks the network."""
    from compress.context.vision import timm, torchvision

    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    if resolved.source == "torchvision":
        url = str(torchvision.models.get_model_weights(resolved.name).DEFAULT.url)
        return (checkpoints / url.rpartition("/")[2]).is_file()
    from huggingface_hub import try_to_load_from_cache

    published = timm.get_pretrained_cfg(resolved.name)
    if not (published.hf_hub_id or published.url):
        raise RecipeError(
            f"weights: {resolved.name} has no published weights to fetch; "
            "give a file with --weights PATH, or train it"
        )
    if not published.hf_hub_id:
        return (checkpoints / str(published.url).rpartition("/")[2]).is_file()
    return any(
        isinstance(try_to_load_from_cache(published.hf_hub_id, file), str)
        for file in ("model.safetensors", "pytorch_model.bin")
    )


def _has_no_network() -> bool:
    """Whether the hub's name means nothing here; asking on would only take minutes."""
    if urllib.request.getproxies():
        return False  # a proxy resolves names that this machine cannot
    try:
        socket.getaddrinfo(_HUB, 443)
    except OSError:
        return True
    return False


def _unreachable(resolved: Resolved, reason: str) -> RecipeError:
    """The error for weights that are elsewhere."""
    return RecipeError(
        f"weights: the published weights of {resolved.name} are not on this machine "
        f"and could not be fetched ({reason}); connect to the network once, or put the "
        "checkpoint into a file and give --weights PATH"
    )
