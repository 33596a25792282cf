"""`prune` and `sensitivity` as a user runs them, on a net that trains in seconds."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compress.cli.main import main
from compress.context.validation import keys_of, record_from
from compress.models.checkpoint import load, load_model
from compress.recipe.recipe import Recipe
from runtime.errors import Exit, RecipeError

NET = "cifar_resnet20"
SMALL = ("--round-to", "2", "--calib-images", "32")


@pytest.fixture(scope="module")
def data(
    draw_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Four classes that a network tells apart at a glance."""
    return draw_folder(tmp_path_factory.mktemp("images"), images=24)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a trained float network."""
    out = tmp_path_factory.mktemp("float") / "run"
    words = ("--model", NET, "--data", str(data), "--epochs", "8", "--batch-size", "8")
    assert main(["finetune", *words, "-q", "--out", str(out)]) == Exit.FIT
    return out


@pytest.fixture(scope="module")
def run(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that halved its MACs, in two steps, one block less, with training."""
    out = tmp_path_factory.mktemp("pruned") / "run"
    words = ("--model", str(trained), "--data", str(data), "--macs", "0.5", *SMALL)
    more = ("--steps", "2", "--blocks", "1", "--epochs", "2", "--batch-size", "8")
    assert main(["prune", *words, *more, "-q", "--out", str(out)]) == Exit.FIT
    return out


def test_the_budget_is_met_and_the_rows_say_so(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    start, pruned = report["rows"]

    assert [start["stage"], pruned["stage"]] == ["start", "prune"]
    assert 0.4 < pruned["macs"] / start["macs"] <= 0.5
    assert pruned["params"] < start["params"]
    assert pruned["top1"] >= start["top1"] - 0.1


def test_the_whole_network_is_measured_beside_the_cut_one(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())

    assert [file["role"] for file in report["artifacts"]] == ["start", "model"]
    assert report["artifacts"][1]["parity"]["argmax_agreement"] == 1.0
    assert {m["role"] for m in report["measurements"]} == {"start", "model"}


def test_what_was_cut_is_written_down(run: Path) -> None:
    record = json.loads((run / "01-prune" / "pruning.json").read_text())
    model = load_model(run / "01-prune")

    assert len(record["steps"]) == 2
    assert len(model.surgery.removed) == 1
    assert record["surgery"]["removed"] == list(model.surgery.removed)
    assert all(0 <= step["flips_recovered"] <= 1 for step in record["steps"])


def test_a_pruned_model_goes_through_every_other_verb(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judged, pruned again, and quantized: the INT8 file answers as its network."""
    words = ("--model", str(run), "--data", str(data), "-q", "--json")
    assert main(["eval", *words]) == Exit.FIT
    top1 = json.loads(capsys.readouterr().out)["top1"]
    report = json.loads((run / "report.json").read_text())
    assert top1 == report["rows"][1]["top1"]

    out = str(tmp_path / "again")
    again = ("--params", "0.7", "--epochs", "0", *SMALL, "--out", out)
    assert main(["prune", *words, *again]) == Exit.FIT
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[1]["params"] <= 0.7 * rows[0]["params"]

    int8 = ("--calib-images", "32", "--out", str(tmp_path / "int8"))
    assert main(["quantize", *words, *int8]) == Exit.FIT
    (file,) = [
        each
        for each in json.loads(capsys.readouterr().out)["artifacts"]
        if each["dtype"] == "int8"
    ]
    assert file["parity"]["argmax_agreement"] == 1.0
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert load(tmp_path / "int8" / "01-ptq")(images).shape == (2, 4)


def test_the_same_seed_cuts_the_same(trained: Path, data: Path, tmp_path: Path) -> None:
    words = ("--model", str(trained), "--data", str(data), "--ratio", "0.3", *SMALL)
    states = []
    for name in ("one", "two"):
        more = ("--epochs", "0", "--criterion", "random", "--out", str(tmp_path / name))
        assert main(["prune", *words, *more, "-q"]) == Exit.FIT
        states.append(load(tmp_path / name / "01-prune").state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_sensitivity_is_a_table_and_a_chart(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", str(trained), "--data", str(data), "--images", "16")
    more = ("--ratios", "0.5,0.9", "--json", "-q", "--out", str(tmp_path))
    assert main(["sensitivity", *words, *more]) == Exit.FIT
    found = json.loads(capsys.readouterr().out)

    assert found == json.loads((tmp_path / "sensitivity.json").read_text())
    assert len(found["groups"]) == 9
    assert all(list(group["top1"]) == ["0.5", "0.9"] for group in found["groups"])
    lowest = [min(group["top1"].values()) for group in found["groups"]]
    assert lowest == sorted(lowest)
    svg = (tmp_path / "sensitivity.svg").read_text()
    assert svg.startswith("<svg")
    assert "var(--" not in svg


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (("--ratio", "1.5"), r"--ratio: found 1.5, which should be less than 1", 2),
        (("--ratio", "0"), r"--ratio: found 0.0, which should be greater than 0", 2),
        ((), r"expected one of ratio, macs, .*found none", 2),
        (("--ratio", "0.5", "--macs", "0.5"), r"found ratio and macs", 2),
        (("--macs", "0.5", "--exclude", "layer1.0.conf1"), r"mean 'layer1.0.conv1'", 2),
        (("--macs", "0.01"), r"budget of .* MACs cannot be met: the closest .*", 2),
        (("--size-mb", "0.0001"), r"budget of 100 bytes cannot be met", 2),
        (("--macs", "0.5", "--blocks", "99"), r"only 7 residual blocks", 2),
        (("--macs", "0.5", "--calib", "/nowhere"), r"/nowhere", 2),
        (
            ("--macs", "0.5", "--exclude", "layer1,layer2,layer3,conv1"),
            r"no layer is left|the closest that can be reached",
            2,
        ),
    ],
)
def test_bad_input_is_one_sentence(  # noqa: PLR0913, PLR0917  # fixtures and cases
    trained: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
    code: int,
) -> None:
    model = ("--model", str(trained), "--data", str(data), "--epochs", "0")
    given = ["prune", *model, *words, "-q", "--out", str(tmp_path / "run")]

    assert main(given) == code

    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("compress: ")
    assert re.search(sentence, line), line


def test_pruning_after_quantizing_is_refused_before_any_work() -> None:
    stages = [{"qat": {}}, {"prune": {"macs": 0.5}}]
    record = {"name": "x", "model": NET, "stages": stages}

    with pytest.raises(
        RecipeError, match=r"stages\.1\.prune: takes a float .* put prune before qat"
    ):
        record_from(Recipe, record, keys_of("recipe.yaml"))
    record["stages"] = stages[::-1]
    assert record_from(Recipe, record, keys_of("recipe.yaml")).name == "x"


def test_a_quantized_network_is_not_cut(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", str(trained), "--data", str(data), "-q")
    int8 = ("--calib-images", "16", "--out", str(tmp_path / "int8"))
    assert main(["quantize", *words, *int8]) == Exit.FIT
    capsys.readouterr()

    given = ("--model", str(tmp_path / "int8"), "--data", str(data), "--macs", "0.5")
    out = ("-q", "--out", str(tmp_path / "run"))
    assert main(["prune", *given, *out]) == Exit.USAGE
    assert "is quantized already" in capsys.readouterr().err


def test_a_network_of_the_users_own_is_pruned(
    tiny: ModuleType, data: Path, tmp_path: Path
) -> None:
    """Its code is named again, and the record says what is thinner."""
    del tiny
    file = tmp_path / "my_net.py"
    file.write_text(
        "from torch import nn\n\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),\n"
        "        nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))\n"
    )
    factory = f"{file}:build"
    words = ("--model-file", factory, "--data", str(data), "--macs", "0.5", *SMALL)
    more = ("--epochs", "1", "-q", "--out", str(tmp_path / "run"))
    # Whether a fresh network learns enough in an epoch is not the point here.
    assert main(["prune", *words, *more]) in {Exit.FIT, Exit.BUDGET}

    again = load_model(tmp_path / "run" / "01-prune", factory=factory)
    assert again.net[0].out_channels < 16


def test_every_phase_says_how_far_it_is(
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With no patience at all, each step of each pass is a line of its own."""
    monkeypatch.setattr("compress.context.console.LINE_SECONDS", 0.0)
    words = ("--model", str(trained), "--data", str(data), "--macs", "0.7", *SMALL)
    more = ("--blocks", "1", "--criterion", "reconstruction", "--epochs", "0")
    main(["prune", *words, *more, "--out", str(tmp_path / "run")])

    said = capsys.readouterr().err.splitlines()
    titles = {line.split(":")[0] for line in said if "s left" in line}
    assert titles >= {
        "what each block is worth",
        "watching what layers read",
        "what each group is worth",
        "least squares",
        "what the cut changed",
        "proof",
    }
