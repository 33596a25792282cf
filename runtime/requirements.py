"""What to install for a part of edgepress, as a command that works anywhere.

edgepress is on no package index, so a sentence names the libraries and versions that
are missing, read off what was installed, instead of an extra of ours.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

# Where nothing of ours is installed, as where only a folder was copied to a device.
_BARE: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("numpy",),
    "onnx": ("onnxruntime",),
    "tflite": ("ai-edge-litert",),
}
_EXTRA: Final = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
_OURS: Final = re.compile(r"edgepress\[([^\]]+)\]")
_CLAUSE: Final = re.compile(r"(\w+)\s*(==|!=)\s*[\"']([^\"']*)[\"']")


def pip_line(*extras: str) -> str:
    """The command that installs what `extras` need; "" is the base installation."""
    found = dict.fromkeys(each for extra in extras for each in _needed(extra))
    return " ".join(["pip install", *(f"'{each}'" for each in found)])


def _needed(extra: str) -> Iterator[str]:
    """Requirements of one extra, those of extras that it names included."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("edgepress") or []
    except PackageNotFoundError:
        yield from _BARE.get(extra, (extra,))
        return
    for line in lines:
        requirement, _, marker = line.partition(";")
        named = _EXTRA.search(marker)
        if (named[1] if named else "") != extra or not _applies(marker):
            continue
        inner = _OURS.match(requirement.strip())
        if inner is None:
            yield requirement.strip().replace(" ", "")
            continue
        for other in inner[1].split(","):
            yield from _needed(other.strip())


def _applies(marker: str) -> bool:
    """Whether a line is for this machine; clauses of ours are joined by `and` alone."""
    import platform

    here = {
        "platform_machine": platform.machine(),
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
    }
    return all(
        (here[name] == value) == (operator == "==")
        for name, operator, value in _CLAUSE.findall(marker)
        if name in here
    )
