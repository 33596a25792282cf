"""What `ptq` was asked for holds of every file, those on grids of their own, too."""

from pathlib import Path

import pytest

from compress.evidence import Evidence
from compress.int8_limits import asked_of_ptq
from compress.proof import Proof, Proven
from compress.recipe import Recipe
from export.verify import Parity
from runtime.artifact import Artifact


def int8_file(target: str, changed: float, *, own_grids: bool) -> Proven:
    """A file that answers otherwise than float32 on a share of 650 images."""
    path = Path(f"net-int8-{target}.onnx")
    artifact = Artifact(
        path=path, format="onnx", dtype="int8", sha256="0" * 64, size_bytes=1
    )
    return Proven(
        role="model",
        artifact=artifact,
        parity=Parity(
            images=650, argmax_agreement=1.0, max_abs_error=0.0, sqnr_db=None
        ),
        changed=Parity(
            images=650, argmax_agreement=1 - changed, max_abs_error=0.1, sqnr_db=25.0
        ),
        grids={"scales": {"image": 0.02}} if own_grids else None,
    )


def evidence(*files: Proven) -> Evidence:
    """A run that was asked to change 2 % of the answers at most, and changed 1 %."""
    recipe = Recipe.model_validate(
        {"name": "run", "model": "lenet5", "stages": [{"ptq": {"flips": 0.02}}]}
    )
    return Evidence(
        recipe=recipe,
        folder=Path(),
        rows=(),
        proof=Proof(files=files, measurements=(), comparisons=()),
        reference=None,
        trained=True,
        quantisation={"float32": {}, "int8": {"flips": 0.01}},
    )


def test_a_file_on_its_targets_own_grids_is_asked_itself() -> None:
    """It is of another network than the one that the stage judged."""
    here = int8_file("x86-vnni", 0.01, own_grids=False)
    jetson = int8_file("jetson", 0.03, own_grids=True)

    alone = list(asked_of_ptq(evidence(jetson)))
    both = list(asked_of_ptq(evidence(here, jetson)))

    assert [each.file for each in alone] == ["net-int8-jetson.onnx"]
    assert [(each.file, each.kept) for each in both] == [
        ("", True),
        ("net-int8-jetson.onnx", False),
    ]
    assert both[1].measured == pytest.approx(0.03)
