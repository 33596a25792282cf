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

    Only TensorRT has rules that a file can break in silence; other targets, and a
    folder, are a RecipeError. A breach is exit code 4.
    """
    device = target(name)
    if not device.rounds_reads:
        raise RecipeError(
            f"verify: --target {name}: has no rules of its own for a QDQ file; those "
            "with some: jetson-orin"
        )
    artifact = Artifact.read(path)
    if artifact.format != "onnx":
        raise RecipeError(f"verify: {path}: {device.name} reads ONNX files")
    check_installed("onnx", "onnx_ir")
    from export.tensorrt_rules import RULES, breaches_of_file

    found = breaches_of_file(path)
    lines = [
        f"{printable(each.as_text())} ({each.rule.source})" for each in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more (--json has all)")
    lines.append(
        f"verdict: {len(found)} breaches of what {device.name} asks of a QDQ file"
        if found
        else f"verdict: keeps to all {len(RULES)} rules of {device.name}"
    )
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
