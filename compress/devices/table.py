"""Devices by name: of the kinds in `names`, or boards of the inventory."""

import importlib

from compress.devices.device import Device
from compress.devices.names import KINDS, listed
from runtime.errors import DeviceError


def device(name: str) -> Device:
    """The device that `name` means: a kind, or a board of the inventory.

    DeviceError if there is none of that name.
    """
    kind, _, rest = name.partition(":")
    if kind in KINDS:
        opened = importlib.import_module(f"compress.devices.{KINDS[kind].module}")
        found: Device = opened.open_device(rest)
        return found
    from compress.devices.inventory import boards

    known = boards()
    if name in known:
        from compress.devices.ssh import SshDevice

        return SshDevice(known[name])
    raise DeviceError(
        f"--device {name}: not known; known: {listed([*sorted(KINDS), *known])}; "
        "`compress devices add NAME ssh://user@host` adds a board"
    )
