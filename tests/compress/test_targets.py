"""`compress targets`: the table, a target with its traps, and who is none."""

import itertools
import json
from pathlib import Path

import pytest

from compress.cli.main import main
from compress.models.model import Model
from compress.pipeline.export_plan import wanted
from compress.recipe.recipe import Export
from runtime.errors import Exit, RecipeError
from runtime.target import TARGETS, target
from tests.compress.test_exports import quantized


def test_the_table_has_a_line_for_each_target_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """80 columns, names first."""
    assert main(["targets"]) == Exit.FIT

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(TARGETS)]] == list(TARGETS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", [*TARGETS, "jetson", "raspberry-pi"])
def test_a_target_is_described_with_all_its_traps(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text within 80 columns, and the same as JSON."""
    assert main(["targets", name]) == Exit.FIT
    text = capsys.readouterr().out
    assert main(["targets", name, "--json"]) == Exit.FIT
    facts = json.loads(capsys.readouterr().out)

    assert max(map(len, text.splitlines())) <= 80
    assert facts["name"] == target(name).name
    told = " ".join(text.split())
    for trap in facts["traps"]:
        assert f"{trap['text']} ({trap['source']})" in told


def test_what_is_no_target_is_told_with_what_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 and the names."""
    assert main(["targets", "toaster"]) == Exit.USAGE
    assert "known: android-arm64, generic-arm64," in capsys.readouterr().err


def test_two_names_of_one_layout_are_one_file(quantized_net: Model) -> None:
    """An Orin by two names, and a telephone beside it."""
    export = Export(target=("jetson", "jetson-orin", "android-arm64"), to=("tflite",))

    names = [each.name for each in wanted("model", quantized_net, export)]

    assert names == ["model-lenet5-int8.tflite", "model-lenet5-int8-jetson.onnx"]


def test_a_device_without_int8_gets_a_float_file(quantized_net: Model) -> None:
    """A Jetson Nano of 2019; INT8 alone is refused before any work."""
    export = Export(target=("jetson-nano",))

    (only,) = wanted("model", quantized_net, export)

    assert only.name == "model-lenet5.onnx"
    with pytest.raises(RecipeError, match="jetson-nano computes no INT8"):
        Export(target=("jetson-nano",), dtype=("int8",))


@pytest.fixture(name="quantized_net")
def quantized_net_fixture() -> Model:
    """A network that is quantized."""
    return quantized()


def test_docs_name_targets_that_exist() -> None:
    """`--target A,B` of README and docs."""
    root = Path(__file__).parents[2]
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        words = page.read_text(encoding="utf-8").replace("`", " ").split()
        for flag, value in itertools.pairwise(words):
            if flag == "--target":
                for name in value.rstrip(".,;:)").split(","):
                    assert name == name.upper() or target(name)
