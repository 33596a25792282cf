"""A lint of an ONNX file for a device, whoever wrote it: which rules it breaks."""

from pathlib import Path
from typing import Final

from compress.answer import Facts
from compress.extras import check_installed
from runtime.artifact import Artifact
from runtime.errors import Exit, RecipeError
from runtime.printable import printable
from runtime.target import target

_SHOWN: Final = 20  # breaches in the text; JSON has all


def linted(path: Path, name: str) -> Facts:
    """Hold the file at `path` against the rules of the target `name`.

    TensorRT has rules that a file can break in silence, and older ARM cores one; other
    targets, and a folder, are a RecipeError. A breach is exit code 4.
    """
    device = target(name)
    if device.layout is not None and device.layout.activations == "int8":
        return _for_arm(path, device.name)
    if not device.rounds_reads:
        raise RecipeError(
            f"verify: --target {name}: has no rules of its own for a QDQ file; those "
            "with some: generic-arm64, jetson-orin"
        )
    artifact = Artifact.read(path)
    if artifact.format != "onnx":
        raise RecipeError(f"verify: {path}: {device.name} reads ONNX files")
    check_installed("onnx", "onnx_ir")
    from export.tensorrt_rules import OPSET_MOST, RULES, breaches_of_file, is_float_file

    found = breaches_of_file(path)
    lines = [
        f"{printable(each.as_text())} ({each.rule.source})" for each in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more (--json has all)")
    if found:
        kept = f"{len(found)} breaches of what {device.name} asks of a QDQ file"
    elif is_float_file(path):
        kept = (
            f"a float file, of which {device.name} asks an opset of {OPSET_MOST} at "
            "most, no more, and it keeps to that; nothing is rounded to INT8 there"
        )
    else:
        kept = f"keeps to all {len(RULES)} rules of {device.name}"
    lines.append(f"verdict: {kept}")
    return Facts(
        text="\n".join(lines),
        facts={
            "path": str(path),
            "target": device.name,
            "breaches": [
                {"rule": each.rule.name, "node": each.node, "source": each.rule.source}
                for each in found
            ],
        },
        exit_code=Exit.PARITY if found else Exit.FIT,
    )


def _for_arm(path: Path, device: str) -> Facts:
    """Whether weights overflow on ARM cores without dot products."""
    if Artifact.read(path).format != "onnx":
        raise RecipeError(f"verify: {path}: the rule of {device} is about ONNX files")
    check_installed("onnx")
    from export.arm_rules import overflow_of_file

    found = overflow_of_file(path)
    kept = f"verdict: no weight of -128, as {device} asks of a QDQ file"
    return Facts(
        text=printable(found) if found else kept,
        facts={"path": str(path), "target": device, "overflow": found},
        exit_code=Exit.PARITY if found else Exit.FIT,
    )
