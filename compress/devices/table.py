"""Devices by name: one literal table of their kinds."""

import importlib
from typing import Final

from compress.devices.device import Device
from runtime.errors import DeviceError

# What stands before the colon of a name, and the file whose `open_device` takes what
# stands after it.
KINDS: Final[dict[str, str]] = {
    "cpu": "local",
    "docker": "container",
}


def device(name: str) -> Device:
    """The device that `name` means; DeviceError if there is none of that name."""
    kind, _, rest = name.partition(":")
    if kind not in KINDS:
        raise DeviceError(
            f"--device {name}: not known; known: {', '.join(sorted(KINDS))}"
        )
    opened = importlib.import_module(f"compress.devices.{KINDS[kind]}")
    found: Device = opened.open_device(rest)
    return found
