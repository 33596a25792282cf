"""`quantize` and `verify` as a user runs them, on a network that trains in seconds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compress.cli.main import main
from compress.pipeline.run_directory import write_manifest
from runtime.artifact import Artifact
from runtime.checking import check_files
from runtime.errors import Exit
from runtime.files import SEAL, sha256_of, write_json
from runtime.machine import this_machine
from runtime.target import int8_target

# A residual network for CIFAR: convolutions, batch norms, sums, one linear layer.
NET = "cifar_resnet20"


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
    """A run directory with its INT8 form, as ONNX."""
    out = tmp_path_factory.mktemp("int8") / "run"
    words = ("--model", str(trained), "--data", str(data), "--calib-images", "32")
    assert main(["quantize", *words, "-q", "--out", str(out)]) == Exit.FIT
    return out


def report_of(folder: Path) -> dict[str, object]:
    """What the run found."""
    record: dict[str, object] = json.loads((folder / "report.json").read_text())
    return record


def int8_file(folder: Path) -> Path:
    """The INT8 ONNX file of a run."""
    (found,) = (folder / "artifacts").glob("model-*-int8-*.onnx")
    return found


def test_the_file_answers_bit_for_bit_like_the_network(run: Path) -> None:
    (file,) = [
        each
        for each in report_of(run)["artifacts"]  # type: ignore[attr-defined]
        if each["dtype"] == "int8"
    ]
    assert file["parity"]["argmax_agreement"] == 1.0
    assert file["parity"]["max_abs_error"] <= 1e-4
    assert file["int8_macs_fraction"] == 1.0


def test_the_report_holds_the_float_network_beside_it(run: Path) -> None:
    report = report_of(run)
    assert [row["stage"] for row in report["rows"]] == ["start", "ptq"]  # type: ignore[attr-defined]
    roles = [each["role"] for each in report["artifacts"]]  # type: ignore[attr-defined]
    assert roles == ["start", "model"]
    assert {each["role"] for each in report["measurements"]} == {"start", "model"}  # type: ignore[attr-defined]
    found = report["quantisation"]
    assert found["float_operators"] == []  # type: ignore[index]
    assert found["int8"]["images"] > 0  # type: ignore[index]
    assert len(found["operators"]) > 20  # type: ignore[index,arg-type]


def test_the_file_is_a_quarter_of_the_float_one(run: Path) -> None:
    (plain,) = (run / "artifacts").glob("start-*.onnx")
    assert int8_file(run).stat().st_size < 0.35 * plain.stat().st_size


def test_the_same_command_writes_the_same_file(
    run: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--model", str(trained), "--data", str(data), "--calib-images", "32")
    assert main(["quantize", *words, "-q", "--out", str(tmp_path / "run")]) == Exit.FIT
    again = int8_file(tmp_path / "run")
    assert sha256_of(again) == sha256_of(int8_file(run))


def test_verify_compares_network_and_file(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(run), "--data", str(data), "--json", "-q"]) == Exit.FIT
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["a"] == "network"
    assert pair["b"] == int8_file(run).name
    assert pair["argmax_agreement"] == 1.0


def test_verify_finds_the_operator_that_was_tampered_with(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    file = int8_file(copy)
    model = onnx.load(file)
    for weight in model.graph.initializer:
        if "layer2" in weight.name and weight.name.endswith(".weight"):
            turned = -numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(turned, weight.name))
    onnx.save(model, file)
    vouch_for(file)
    words = ("verify", str(copy), "--data", str(data), "--json", "-q")
    assert main([*words, "--threshold", "1"]) == Exit.PARITY
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["argmax_agreement"] < 1
    assert pair["first_difference"].startswith("layer2")


def vouch_for(file: Path) -> None:
    """Let sidecar and manifest of a changed file say that it is as it should be."""
    path = file.with_name(file.name + ".json")
    sidecar = json.loads(path.read_text())
    sidecar |= {"sha256": sha256_of(file), "size_bytes": file.stat().st_size}
    write_json(path, sidecar)
    write_manifest(file.parent.parent)


def test_verify_looks_into_tflite_files_too(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Untouched, the file is the network; the second convolution turned, not."""
    from export.tflite import flatbuffer

    out = tmp_path / "files"
    words = ("--model", str(run), "--data", str(data), "--to", "tflite", "-q")
    assert main(["export", *words, "--out", str(out)]) == Exit.FIT
    verify = ("verify", str(out), "--data", str(data), "--json", "-q")
    assert main([*verify, "--threshold", "1"]) == Exit.FIT
    # Without VNNI OpenVINO adds products in 16 bits, which saturate: scores may part.
    exact = {"avx512_vnni", "avx_vnni"} & {*this_machine().features}
    allowed = {Exit.FIT} if exact else {Exit.FIT, Exit.PARITY}
    assert main([*verify, "--runtime", "openvino"]) in allowed
    assert main([*verify, "--runtime", "onnxruntime-cuda"]) == Exit.USAGE
    capsys.readouterr()

    (file,) = (out / "artifacts").glob("*-int8.tflite")
    model = flatbuffer.read(file.read_bytes())
    graph = flatbuffer.graph_of(model)
    second = [
        each
        for each in graph.operators
        if flatbuffer.kind_of(model, each) == flatbuffer.OPERATORS.CONV_2D
    ][1]
    weight = model.buffers[graph.tensors[second.inputs[1]].buffer]
    weight.data = (-np.frombuffer(bytes(weight.data), np.int8)).view(np.uint8)
    file.write_bytes(flatbuffer.written(model))
    vouch_for(file)

    assert main([*verify, "--threshold", "1"]) == Exit.PARITY
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["first_difference"] == "layer1_0_conv1"


def test_eval_judges_the_int8_file_and_the_int8_run_alike(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for model in (int8_file(run), run):
        words = ("--model", str(model), "--data", str(data), "--json", "-q")
        assert main(["eval", *words]) == Exit.FIT
        found.append(json.loads(capsys.readouterr().out)["top1"])
    assert found[0] == found[1]


def test_export_writes_every_target_from_the_one_graph(
    run: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--model", str(run), "--data", str(data), "--optimize", "none")
    targets = ("--dtype", "float32,int8", "--target", "x86,x86-avx2,arm64,jetson")
    out = tmp_path / "files"
    code = main(["export", *words, *targets, "-q", "--out", str(out)])
    assert code in {Exit.FIT, Exit.PARITY}
    files = {each.name: each for each in (out / "artifacts").glob("*.onnx")}
    assert len(files) == 5
    assert {Artifact.read(each).dtype for each in files.values()} == {"float32", "int8"}
    artifacts = {
        each["target"]: each
        for each in report_of(out)["artifacts"]  # type: ignore[attr-defined]
    }
    layout = int8_target(this_machine()).layout
    assert layout is not None
    here, arm = artifacts[layout.name], artifacts["arm64"]
    assert here["parity"]["argmax_agreement"] == 1.0
    # Not by luck on kernels that saturate: by its equal for this machine.
    assert arm["parity"] == here["parity"]
    assert (here["proven_by"], arm["proven_by"]) == (None, layout.name)
    said = (out / "report.md").read_text(encoding="utf-8")
    assert f"proven by its equal for {layout.name}" in said
    assert artifacts["jetson"]["parity"]["argmax_agreement"] == 1.0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--calib-images", "0"), Exit.USAGE, "calib-images"),
        (("--target", "x87"), Exit.USAGE, "unknown target 'x87'"),
        (("--epochs", "3"), Exit.USAGE, "--mode qat"),
        (("--accuracy-drop", "2"), Exit.USAGE, "accuracy-drop"),
        (("--flips", "-1"), Exit.USAGE, "flips"),
        (("--engine", "nncf", "--mode", "qat"), Exit.USAGE, "use --mode ptq"),
        (("--engine", "nncf", "--target", "jetson"), Exit.USAGE, "grids with zero poi"),
        (
            ("--engine", "nncf", "--accuracy-drop", "0.1", "--flips", "0.1"),
            Exit.USAGE,
            "keeps within one limit",
        ),
    ],
)
def test_bad_flags_are_told_in_a_sentence(  # noqa: PLR0913, PLR0917  # fixtures
    words: tuple[str, ...],
    code: Exit,
    told: str,
    trained: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ("quantize", "--model", str(trained), "--data", str(data), "-q")
    assert main([*given, *words]) == code
    printed = capsys.readouterr().err
    assert told in printed
    assert printed.count("\n") == 1


def test_an_int8_model_is_not_quantized_again(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("ptq", "qat"):
        words = ("--model", str(run), "--data", str(data), "--mode", mode, "-q")
        out = str(tmp_path / mode)
        assert main(["quantize", *words, "--out", out]) == Exit.USAGE
        assert "quantized already" in capsys.readouterr().err


def test_an_int8_model_is_not_trained(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", str(run), "--data", str(data), "--epochs", "1", "-q")
    out = str(tmp_path / "run")
    assert main(["finetune", *words, "--out", out]) == Exit.USAGE
    assert "--mode qat" in capsys.readouterr().err


@pytest.fixture
def stages(run: Path, tmp_path: Path) -> Path:
    """A run directory of a float network and the INT8 one that was made of it."""
    (int8,) = run.glob("*-ptq")
    shutil.copytree(int8, tmp_path / "made" / "02-ptq")
    record = json.loads((int8 / "model.json").read_text())
    (tmp_path / "made" / "01-finetune").mkdir()
    beside = tmp_path / "made" / "01-finetune" / "model.json"
    unsealed = {key: each for key, each in record.items() if key != SEAL}
    beside.write_text(json.dumps(unsealed | {"int8": None}))
    return tmp_path / "made"


@pytest.mark.parametrize(
    "words",
    [
        ("finetune", "--epochs", "1"),
        ("distill", "--teacher", "lenet5", "--student", "RUN"),
        ("sparsify", "--sparsity", "0.5"),
        ("factorize", "--energy", "0.9"),
        ("prune", "--ratio", "0.5"),
        ("quantize",),
        ("quantize", "--mode", "qat"),
        ("quantize", "--engine", "nncf"),
    ],
    ids=" ".join,
)
def test_no_stage_takes_an_int8_run_and_none_decodes_an_image(
    words: tuple[str, ...],
    stages: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not even the data is looked for; the float model that will do is named."""
    verb, *more = [str(stages) if word == "RUN" else word for word in words]
    model = () if verb == "distill" else ("--model", str(stages))
    out = ("--data", "folder:/no/such", "-q", "--out", str(tmp_path / "out"))

    assert main([verb, *more, *model, *out]) == Exit.USAGE

    told = capsys.readouterr().err
    float_model = stages / "01-finetune"
    assert f"model: {stages} is quantized already, to INT8" in told
    assert (
        f"takes a float network; name the model that it was made from: {float_model}"
    ) in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_int8_file_asked_of_a_float_model_says_what_to_do(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", str(trained), "--data", str(data), "--dtype", "int8", "-q")
    assert main(["export", *words, "--out", str(tmp_path / "run")]) == Exit.USAGE
    assert "compress quantize" in capsys.readouterr().err


def test_calibration_images_of_one_class_are_refused(
    trained: Path,
    data: Path,
    tmp_path: Path,
    draw_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = draw_folder(tmp_path / "one", classes="a")
    words = ("--model", str(trained), "--data", str(data), "--calib", str(one), "-q")
    assert main(["quantize", *words, "--out", str(tmp_path / "run")]) == Exit.REJECTED
    assert "one class" in capsys.readouterr().err


def test_an_empty_calibration_set_is_refused(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    words = ("--model", str(trained), "--data", str(data))
    calib = ("--calib", str(tmp_path / "none"), "-q", "--out", str(tmp_path / "run"))
    assert main(["quantize", *words, *calib]) == Exit.REJECTED
    assert capsys.readouterr().err.count("\n") == 1


def test_weights_that_are_no_numbers_are_named(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    (stage,) = trained.glob("*-finetune")
    state = load_file(stage / "model.safetensors")
    name = next(each for each in state if "layer2" in each and "weight" in each)
    state[name] = torch.full_like(state[name], float("nan"))
    file = tmp_path / "broken.safetensors"
    save_file(state, file)
    words = ("--model", NET, "--weights", str(file), "--data", str(data), "-q")
    assert main(["quantize", *words, "--out", str(tmp_path / "run")]) in {
        Exit.REJECTED,
        Exit.USAGE,
    }
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("limit", [(), ("--accuracy-drop", "0.1"), ("--flips", "0.1")])
def test_nncf_chooses_the_grids_and_our_lowering_makes_the_file(
    limit: tuple[str, ...],
    trained: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The answer is the report of any other run; what was asked for is in it."""
    words = ("--model", str(trained), "--data", str(data), "--calib-images", "32")
    asked = ("--engine", "nncf", "--json", "-q", "--out", str(tmp_path / "run"))
    assert main(["quantize", *words, *limit, *asked]) == Exit.FIT
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "run" / "report.json").read_text()
    found = json.loads(printed)
    plain, int8 = found["artifacts"]
    assert (plain["dtype"], int8["dtype"]) == ("float32", "int8")
    assert int8["int8_macs_fraction"] > 0.9
    assert int8["against_float32"]["argmax_agreement"] > 0.9
    files = sorted((tmp_path / "run" / "artifacts").glob("*.onnx"))
    kinds = {each.reference for each in check_files(files).files if each.passed}
    assert kinds == {"network", "file"}
    if limit:
        key = limit[0].removeprefix("--").replace("-", "_")
        (held,) = (each for each in found["checks"] if each["limit"] == key)
        assert (held["allowed"], held["kept"]) == (0.1, True)


def test_a_saved_model_becomes_tflite_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow is the oracle of its own files: the float one is the measure.

    This network never learned anything: whether its guesses are at chance is luck.
    """
    keras = pytest.importorskip("keras", reason="TensorFlow is not installed")
    net = keras.Sequential(
        [
            keras.layers.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )
    net.export(tmp_path / "net", verbose=False)
    words = ("--model", str(tmp_path / "net"), "--data", str(data), "--to", "tflite")
    words = (*words, "--trust")
    out = tmp_path / "run"
    capsys.readouterr()
    code = main(["quantize", *words, "--json", "-q", "--out", str(out)])
    assert code in {Exit.FIT, Exit.BUDGET}
    report = json.loads(capsys.readouterr().out)
    plain, int8 = report["artifacts"]
    assert (plain["dtype"], int8["dtype"]) == ("float32", "int8")
    assert int8["against_float32"]["argmax_agreement"] > 0.9
    assert (plain["parity"], int8["parity"]) == (None, None)
    missed = {each["limit"] for each in report["checks"] if not each["kept"]}
    assert missed <= {"chance"}
    assert (code == Exit.FIT) is (not missed)
    files = sorted((out / "artifacts").glob("*.tflite"))
    assert [each.passed for each in check_files(files).files] == [True, True]


@pytest.mark.parametrize("verb", ["export", "quantize"])
def test_a_saved_model_is_a_program_and_not_run_unasked(
    verb: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its initializer writes a file as soon as TensorFlow opens it."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    proof = tmp_path / "ran"

    class Program(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]  # untyped
        """What TensorFlow sets up when it opens the model, as it would a table."""

        def _create_resource(self) -> object:
            return tf.raw_ops.MutableHashTableV2(
                key_dtype=tf.string, value_dtype=tf.int64
            )

        def _initialize(self) -> None:
            tf.io.write_file(str(proof), "ran")

    class Net(tf.Module):  # type: ignore[misc]  # untyped
        """An average, and what comes along with it."""

        def __init__(self) -> None:
            super().__init__()
            self.program = Program()

        @tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 3], tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, image: object) -> object:
            """One score a color."""
            return tf.reduce_mean(image, axis=(1, 2))

    tf.saved_model.save(Net(), str(tmp_path / "net"))
    proof.unlink(missing_ok=True)  # it ran here, whose program it is
    words = ("--model", str(tmp_path / "net"), "--data", str(data), "--to", "tflite")
    words = (*words, "-q", "--out", str(tmp_path / "o"))
    capsys.readouterr()

    assert main([verb, *words]) == Exit.REJECTED

    told = capsys.readouterr().err
    assert "a SavedModel is a program" in told
    assert "--trust" in told
    assert told.count("\n") == 1
    assert not proof.exists()
    assert not (tmp_path / "o").exists()
    main([verb, *words, "--trust"])
    assert proof.exists()


def test_nothing_but_a_saved_model_can_be_trusted(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export", "--model", "lenet5", "--data", str(data), "--trust", "-q")
    assert main(words) == Exit.USAGE
    assert "lenet5 is none" in capsys.readouterr().err


def test_every_phase_says_how_far_it_is(
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With no patience at all, each step of each pass is a line of its own."""
    monkeypatch.setattr("compress.context.console.LINE_SECONDS", 0.0)
    words = ("--model", str(trained), "--data", str(data), "--calib-images", "32")
    more = ("--learn-rounding", "--json", "--out", str(tmp_path / "run"))
    main(["quantize", *words, *more])

    said = capsys.readouterr()
    assert isinstance(json.loads(said.out), dict)
    titles = {line.split(":")[0] for line in said.err.splitlines() if "s left" in line}
    assert titles >= {
        "judging by held-out images",
        "equalizing channels",
        "measuring ranges",
        "weighing ranges by their effect",
        "correcting biases",
        "learning how to round weights",
        "measuring the range of the answer",
        "comparing operators with float",
        "proof",
    }


def test_quiet_has_no_phases(
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("compress.context.console.LINE_SECONDS", 0.0)
    words = ("--model", str(trained), "--data", str(data), "--calib-images", "32")
    main(["quantize", *words, "-q", "--out", str(tmp_path / "run")])
    assert capsys.readouterr().err == ""
