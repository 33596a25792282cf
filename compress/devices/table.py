"""Devices by name: one literal table of their kinds; other names are boards."""

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
    """The device that `name` means: a kind, or a board of the inventory.

    DeviceError if there is none of that name.
    """
    kind, _, rest = name.partition(":")
    if kind in KINDS:
        opened = importlib.import_module(f"compress.devices.{KINDS[kind]}")
        found: Device = opened.open_device(rest)
        return found
    from compress.devices.inventory import boards

    known = boards()
    if name in known:
        from compress.devices.ssh import SshDevice

        return SshDevice(known[name])
    raise DeviceError(
        f"--device {name}: not known; known: {', '.join([*sorted(KINDS), *known])}; "
        "`compress devices add NAME ssh://user@host` adds a board"
    )
