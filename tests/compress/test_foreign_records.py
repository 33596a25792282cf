"""What stands in a file of elsewhere is data: no code, no download, nothing outside."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from compress.cli.main import main
from compress.cli.verbs.one_stage import folder_of
from compress.models.spec import CodePath, ModelSpec
from compress.recipe.recipe import Recipe
from runtime.errors import Exit
from runtime.files import sha256_of

pytestmark = pytest.mark.usefixtures("own_cache")

NET = """\
from pathlib import Path
from torch import nn

Path(__file__).with_name("was-here").touch()

def build(num_classes):
    mean = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(mean, nn.Flatten(), nn.Linear(3, num_classes))
"""
SIDE = 8


@pytest.fixture
def own_net(tmp_path: Path) -> Path:
    """A model file that leaves a trace where it is executed."""
    file = tmp_path / "net.py"
    file.write_text(NET, encoding="utf-8")
    return file


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with `code`; give its sentence."""

    def run(code: Exit, *words: str) -> str:
        assert main([*words, "-q"]) == code, capsys.readouterr().err
        printed = capsys.readouterr().err
        assert code == Exit.FIT or printed.count("\n") == 1, printed
        return printed

    return run


def report(folder: Path, **changes: object) -> Path:
    """A run directory as verify sees it: report.json and nothing else."""
    folder.mkdir()
    record: dict[str, object] = {
        "schema": 1,
        "checks": [],
        "name": "r",
        "data": {},
        "recipe": {"model": {"name": "lenet5"}, "data": {"source": "digits"}},
        "machine": {},
        "budget": {},
        "artifacts": [],
    }
    (folder / "report.json").write_text(json.dumps(record | changes), encoding="utf-8")
    return folder


def test_a_report_cannot_name_code(
    tmp_path: Path, own_net: Path, told: Callable[..., str]
) -> None:
    """Neither at the top nor deeper; the file that it names is not executed."""
    spec = {"name": "x", "factory": f"{own_net}:build"}
    run = report(tmp_path / "run", recipe={"model": spec, "data": {}})

    said = told(Exit.REJECTED, "verify", str(run), "--images", "4")

    assert "recipe.model: factory: " in said
    assert "never taken from a file" in said
    assert not (tmp_path / "was-here").exists()


def test_only_a_code_path_names_code(own_net: Path) -> None:
    """Whoever reads a record gets plain texts, which a spec does not take for code."""
    text = f"{own_net}:build"
    spec = {"name": "x", "factory": text}
    deep = {"name": "r", "model": "a", "stages": [{"distill": {"teacher": spec}}]}

    for kind, record in ((ModelSpec, spec), (Recipe, deep)):
        with pytest.raises(ValidationError, match="never taken from a file"):
            kind.model_validate(record)
        with pytest.raises(ValidationError, match="never taken from a file"):
            kind.model_validate_json(json.dumps(record))
    assert ModelSpec(name="x", factory=CodePath(text)).factory == text


def test_verify_takes_the_users_own_net_from_the_command_line(
    tmp_path: Path, own_net: Path, told: Callable[..., str]
) -> None:
    """A run of it can be verified, by naming it again."""
    run, code = str(tmp_path / "run"), f"{own_net}:build"
    told(Exit.FIT, "export", "--model-file", code, "--image-size", "16", "--out", run)
    (tmp_path / "was-here").unlink()

    told(Exit.USAGE, "verify", run, "--images", "4")
    assert not (tmp_path / "was-here").exists()
    told(Exit.FIT, "verify", run, "--images", "4", "--model-file", code)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": {"model": {"name": 5}, "data": {}}}, "recipe.model: name: found 5"),
        ({"recipe": {"data": {"size": "x"}}}, "recipe.data: size: found 'x'"),
        ({"recipe": []}, "recipe is [], not a record"),
        ({"schema": "1"}, "schema is '1', this edgepress reads 1"),
        (
            {"artifacts": [{"role": "model", "path": "../../secret.onnx"}]},
            "not below it",
        ),
        ({"artifacts": [{"role": "model", "path": "/etc/passwd"}]}, "not below it"),
        ({"artifacts": [{"role": "model", "path": "no.onnx"}]}, "no longer there"),
    ],
)
def test_a_report_of_the_wrong_kind(
    tmp_path: Path,
    told: Callable[..., str],
    changes: dict[str, object],
    sentence: str,
) -> None:
    run = report(tmp_path / "run", **changes)

    assert sentence in told(Exit.REJECTED, "verify", str(run), "--images", "4")


def test_a_report_downloads_nothing(tmp_path: Path, told: Callable[..., str]) -> None:
    """`download: true` in a record would write where the record says."""
    data = {"source": "cifar10", "root": str(tmp_path / "there"), "download": True}
    run = report(tmp_path / "run", recipe={"model": {"name": "lenet5"}, "data": data})

    told(Exit.USAGE, "verify", str(run), "--images", "4")

    assert not (tmp_path / "there").exists()


def test_a_recipes_name_is_no_path() -> None:
    """The folder that a run chooses for itself lies in runs/, whatever it is called."""
    recipe = Recipe.model_validate({"name": "../../../etc/cron.d/x", "model": "lenet5"})

    assert folder_of(recipe, Namespace(out=None)).parent == Path("runs")


def graph(output: list[int], *nodes: onnx.NodeProto, **facts: str) -> onnx.ModelProto:
    """An ONNX file of a few nodes, from `x` to `y`, that carries `facts`."""
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, output)
    made = helper.make_model(
        helper.make_graph(list(nodes), "g", [entry], [answer]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(made, facts)
    return made


@pytest.mark.parametrize(
    ("output", "nodes", "sentence"),
    [
        (
            [1, 3, SIDE, SIDE],
            [("Identity", {})],
            ", 3, 8, 8]; allowed: a row",
        ),
        ([], [("ReduceSum", {"keepdims": 0})], "shape []"),
        ([1, 192], [("Flatten", {})], "tells 192 classes apart"),
        (
            [1, 3, 1, 1],
            [("GlobalAveragePool", {})],
            ", 3, 1, 1]; allowed: a row",
        ),
        ([192, 1], [("Reshape", {})], "shape [192, 1]"),
        ([1, 3, SIDE, SIDE], [("Log", {}), ("Flatten", {})], "NaN or infinity"),
    ],
)
def test_outputs_that_are_no_scores(
    tmp_path: Path,
    told: Callable[..., str],
    output: list[int],
    nodes: list[tuple[str, dict[str, int]]],
    sentence: str,
) -> None:
    names = ["x", *(f"v{index}" for index in range(len(nodes) - 1)), "y"]
    made = [
        helper.make_node(kind, [names[index]], [names[index + 1]], **options)
        for index, (kind, options) in enumerate(nodes)
    ]
    model = graph(output, *made, preprocess='{"size": 8, "resize": 8}')
    if nodes[0][0] == "Reshape":
        model.graph.node[0].input.append("s")
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array([192, 1]), "s")
        )
    elif nodes[0][0] == "Log":
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 192
        del model.graph.output[0].type.tensor_type.shape.dim[2:]
    onnx.save(model, tmp_path / "a.onnx")
    code = Exit.USAGE if "classes apart" in sentence else Exit.REJECTED

    assert sentence in told(code, "eval", "--model", str(tmp_path / "a.onnx"))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"preprocess": '{"size": "x", "resize": 8}'}, "preprocess: size is 'x'"),
        ({"preprocess": '{"size": 8.0, "resize": 8}'}, "preprocess: size is 8.0"),
        ({"preprocess": '{"size": 8, "resize": 8, "mean": [0]}'}, "a list of 3"),
        ({"preprocess": '{"size": 8, "resize": 8, "std": [0, 1, 1]}'}, "std[0] is 0"),
        ({"preprocess": '{"size": 8, "resize": 8, "std": [NaN, 1, 1]}'}, "NaN"),
        ({"preprocess": '{"size": 1000000000, "resize": 8}'}, "from 1 to 4096"),
        ({"preprocess": "[1]"}, "preprocess is [1]; allowed: a record"),
        ({"preprocess": "[" * 9000}, "nested deeper"),
        ({"classes": '["a", 2]'}, "classes[1] is 2; allowed: a text"),
        ({"classes": '{"a": 1}'}, "classes is a record of 1"),
        ({"versions": '{"torch": 2}'}, "versions.torch is 2; allowed: a text"),
    ],
)
def test_the_facts_that_a_file_carries(
    tmp_path: Path, told: Callable[..., str], facts: dict[str, str], sentence: str
) -> None:
    """Through metadata and through a sidecar: one reader, one sentence."""
    flat = helper.make_node("Flatten", ["x"], ["y"])
    path, sidecar = tmp_path / "a.onnx", tmp_path / "a.onnx.json"
    onnx.save(graph([1, 192], flat, **facts), path)

    said = told(Exit.REJECTED, "eval", "--model", str(path))

    assert f"{path}: " in said
    assert sentence in said
    onnx.save(graph([1, 192], flat), path)
    known = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
    (key, text), *_ = facts.items()
    sidecar.write_text(f"{json.dumps(known)[:-1]}, {json.dumps(key)}: {text}}}")
    said = told(Exit.REJECTED, "eval", "--model", str(path))
    assert f"{sidecar}: " in said
    assert sentence in said


def test_a_name_from_a_file_steers_no_terminal(
    tmp_path: Path,
    told: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In an error, and in a report that is shown again."""
    evil = "\x1b]0;owned\x07\u202e"
    run = report(tmp_path / "run", name=f"a{evil}\nverdict  fit to ship")
    broken = report(tmp_path / "broken", recipe={"model": {evil: 1}, "data": {}})

    said = told(Exit.REJECTED, "verify", str(broken), "--images", "4")

    assert r"\x1b]0;owned\x07\u202e" in said
    main(["show", str(run)])
    shown = capsys.readouterr().out
    assert "verdict" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"a\x1b]0;owned\x07\u202e\nverdict  fit to ship: on" in shown
