"""What to install for a part of edgepress, as a command that works anywhere.

edgepress is on no package index, so a sentence names the libraries and versions that
are missing, read off what was installed, instead of an extra of ours.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

# Where nothing of ours is installed, as where only a folder was copied to a device.
_BARE: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("numpy",),
    "onnx": ("onnxruntime",),
    "tflite": ("ai-edge-litert",),
    "openvino": ("openvino",),
    "executorch": ("executorch",),
}
_EXTRA: Final = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
_OURS: Final = re.compile(r"edgepress\[([^\]]+)\]")
_CLAUSE: Final = re.compile(r"(\w+)\s*(==|!=|>=|<)\s*[\"']([^\"']*)[\"']")


def pip_line(*extras: str) -> str:
    """The command that installs what `extras` lack; "" is the base installation.

    Where nothing of it is missing, it names all of it: something is broken or too old.
    """
    needed = list(dict.fromkeys(each for extra in extras for each in _needed(extra)))
    lacking = [each for each in needed if not _is_installed(each)] or needed
    return " ".join(["pip install", *(f"'{each}'" for each in lacking)])


def _is_installed(requirement: str) -> bool:
    """Whether there is any version of it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(re.split(r"[<>=!~\[]", requirement, maxsplit=1)[0])
    except PackageNotFoundError:
        return False
    return True


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
    """Whether a line is for this machine and this Python (PEP 508)."""
    plain = _CLAUSE.sub(lambda clause: str(_holds(*clause.groups())), marker)
    return _truth(ast.parse(plain.strip() or "True", mode="eval").body)


def _truth(tree: ast.expr) -> bool:
    """A sentence of `and`, `or`, True and False."""
    if isinstance(tree, ast.BoolOp):
        every = all if isinstance(tree.op, ast.And) else any
        return every(map(_truth, tree.values))
    return isinstance(tree, ast.Constant) and tree.value is True


def _holds(name: str, operator: str, value: str) -> bool:
    """One clause; that of the extra has been looked at already."""
    import platform

    if name == "python_version":
        here, there = sys.version_info[:2], tuple(map(int, value.split(".")))
        return here >= there if operator == ">=" else here < there
    known = {"platform_machine": platform.machine(), "sys_platform": sys.platform}
    return name not in known or (known[name] == value) == (operator == "==")
