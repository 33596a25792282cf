"""Which device a run computes on, checked before any work."""

import os

from runtime.errors import DeviceError, RecipeError


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have, in one sentence."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(
            f"--device {name!r}: not a device; use cpu, cuda, cuda:1 or mps"
        ) from error
    there = available()
    wanted = device.type if device.index is None else f"{device.type}:{device.index}"
    if wanted not in there:
        raise DeviceError(
            f"--device {name}: no such device here; this machine has {', '.join(there)}"
        )
    if device.type == "cuda":
        # Of the processes that `torchrun` starts on one machine, each has its own GPU.
        own = os.environ.get("LOCAL_RANK", "0")
        torch.cuda.set_device(int(own) if device.index is None else device.index)


def available() -> tuple[str, ...]:
    """The devices of this machine."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)
