"""The verdict as a whole: every limit, every order of formats, every engine."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress.cli.main import main
from compress.evaluation.scores import stride
from compress.pipeline import outcome
from compress.pipeline.evidence import Evidence
from compress.pipeline.shipping import advice, shipped
from compress.pipeline.verdict import checks_of
from compress.recipe.recipe import Limits
from export.parity import Parity
from runtime.errors import Exit, InputRejectedError

# What to ask for so that a file keeps a limit, and so that it does not.
KEPT = {
    "top1_drop": 0.05,
    "top1_min": 0.5,
    "size_bytes": 10**9,
    "latency_ms": 1e6,
    "peak_rss_bytes": 10**12,
}
MISSED = {
    "top1_drop": 0.05,
    "top1_min": 0.95,
    "size_bytes": 10,
    "latency_ms": 1e-6,
    "peak_rss_bytes": 1,
}
ENGINES = ("edgepress", "nncf", "tensorflow")


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
    words = ("--model", "lenet5", "--data", str(data), "--epochs", "6")
    assert main(["finetune", *words, "--batch-size", "8", "-q", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module", params=ENGINES)
def found(
    request: pytest.FixtureRequest,
    trained: Path,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evidence:
    """What a real run of an engine found, in both formats where it writes them."""
    place = tmp_path_factory.mktemp(str(request.param))
    words = ["--data", str(data), "--calib-images", "32", "-q"]
    match request.param:
        case "edgepress":
            words += ["--model", str(trained), "--to", "onnx,tflite"]
        case "nncf":
            words += ["--model", str(trained), "--engine", "nncf"]
        case _:
            words += ["--model", str(a_saved_model(place / "net")), "--to", "tflite"]
            words += ["--trust"]
    caught: list[Evidence] = []

    def checks(evidence: Evidence) -> object:
        caught.append(evidence)
        return checks_of(evidence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "checks_of", checks)
        code = main(["quantize", *words, "--out", str(place / "run")])
    (evidence,) = caught
    assert code in {Exit.FIT, Exit.BUDGET}
    return answering(evidence)


def a_saved_model(folder: Path) -> Path:
    """A TensorFlow program that nobody trained."""
    keras = pytest.importorskip("keras", reason="TensorFlow is not installed")
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    net.export(folder, verbose=False)
    return folder


def answering(evidence: Evidence, wrong: int = 0) -> Evidence:
    """The same run, in which every file is right but for the first `wrong` images.

    So is what it is held against, at all images.
    """
    files = []
    for file in evidence.proof.files:
        assert file.labels is not None
        answers = file.labels.copy()
        answers[:wrong] = (answers[:wrong] + 1) % 4
        files.append(replace(file, answers=answers))
    reference = evidence.reference
    assert reference is not None
    return replace(
        evidence,
        proof=replace(evidence.proof, files=tuple(files)),
        reference=replace(reference, answers=reference.labels),
    )


def limited(evidence: Evidence, **limits: float) -> Evidence:
    """The same run under a budget."""
    budget = Limits(**limits)
    return replace(
        evidence, recipe=evidence.recipe.model_copy(update={"budget": budget})
    )


def orders(evidence: Evidence) -> Iterator[Evidence]:
    """The same run, had its formats been asked for the other way round."""
    yield evidence
    given = evidence.proof.delivered
    others = [file for file in evidence.proof.files if file not in given]
    turned = (*others, *reversed(given))
    yield replace(evidence, proof=replace(evidence.proof, files=turned))


def missed(evidence: Evidence) -> set[tuple[str, str]]:
    """Which limits are missed, by which file."""
    return {(c.limit, c.file) for c in checks_of(evidence) if c.kept is False}


@pytest.mark.slow
@pytest.mark.parametrize("limit", KEPT)
def test_every_delivered_file_is_held_against_every_limit(
    found: Evidence, limit: str
) -> None:
    """A run that must pass and one that must not, whatever format came first."""
    files = {file.name for file in found.proof.delivered}
    tenth = len(found.proof.files[0].labels) // 10  # type: ignore[arg-type]
    for run in orders(found):
        assert missed(limited(run, **{limit: KEPT[limit]})) == set()
        harmed = answering(run, tenth if limit.startswith("top1") else 0)
        held = limited(harmed, **{limit: MISSED[limit]})
        assert missed(held) == {(limit, file) for file in files}
        assert shipped(held, checks_of(held)) == ()


@pytest.mark.slow
def test_one_file_too_large_is_named_and_another_is_shipped(found: Evidence) -> None:
    """So it is in both orders; without another, nothing is shipped."""
    made = [file.artifact for file in found.proof.delivered]
    # What a file is tested by is no part of the model.
    sizes = {a.path.name: a.size_bytes - a.selftest_bytes for a in made}
    largest = max(sizes, key=lambda name: sizes[name])
    for run in orders(found):
        held = limited(run, size_bytes=sizes[largest] - 1)
        checks = checks_of(held)
        assert missed(held) == {("size_bytes", largest)}
        (sentence,) = (c.sentence for c in checks if c.kept is False)
        assert sentence.startswith(f"{largest}: the file's size is ")
        names = {each.path.rpartition("/")[2] for each in shipped(held, checks)}
        assert names == set(sizes) - {largest}


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True])
def test_milliseconds_of_another_device_are_never_passed(
    found: Evidence, *, beside: bool
) -> None:
    """Alone such a file misses the limit; beside one of this machine nobody judges."""
    file = next(f for f in found.proof.delivered if f.artifact.dtype == "int8")
    artifact = replace(
        file.artifact, target="arm64", path=file.artifact.path.with_name("arm64.onnx")
    )
    far = replace(file, artifact=artifact)
    kept = found.proof.files if beside else found.proof.files[:1]
    files = (*kept, replace(far, role=file.role))
    if not beside:
        files = (replace(files[0], role="start"), files[1])
    held = limited(
        replace(found, proof=replace(found.proof, files=files)), latency_ms=1e6
    )

    (check,) = (
        each
        for each in checks_of(held)
        if (each.limit, each.file) == ("latency_ms", "arm64.onnx")
    )

    assert check.kept is (None if beside else False)
    targets = {each.target: each.reason for each in shipped(held, checks_of(held))}
    assert ("arm64" in targets) is beside
    assert not beside or "not every limit could be judged" in targets["arm64"]


@pytest.mark.slow
def test_int8_that_lost_the_function_is_not_fit(found: Evidence) -> None:
    """By default 90 % of the answers, 10 dB; a limit of the user's speaks instead."""
    lost = Parity(images=500, argmax_agreement=0.5, max_abs_error=9.0, sqnr_db=1.0)
    files = tuple(
        replace(f, changed=lost) if f.artifact.dtype == "int8" else f
        for f in found.proof.files
    )
    harmed = replace(found, proof=replace(found.proof, files=files))

    assert {limit for limit, _ in missed(harmed)} == {"int8_agreement", "int8_sqnr_db"}
    assert missed(limited(harmed, top1_drop=0.05)) == set()


@pytest.mark.slow
def test_one_answer_for_all_images_is_not_fit(found: Evidence) -> None:
    """The sentence has the answer; a network that was never trained claims nothing."""
    files = tuple(
        replace(f, answers=np.zeros_like(f.labels)) for f in found.proof.files
    )
    collapsed = replace(found, proof=replace(found.proof, files=files), trained=True)

    assert {limit for limit, _ in missed(collapsed)} == {"chance"}
    for check in checks_of(collapsed):
        if check.limit == "chance":
            assert "it gives one answer, 'a', to all" in check.sentence
    assert missed(replace(collapsed, trained=False)) == set()


@pytest.mark.slow
def test_advice_and_shipping_name_the_same_file(found: Evidence) -> None:
    """A float file is advised only where it is the one to ship."""
    ship = shipped(found, checks_of(found))
    names = {each.path.rpartition("/")[2] for each in ship}
    for sentence in advice(found, ship):
        said = [name for name in names if f"ship {name} here" in sentence]
        assert said or "not the file to ship" in sentence


def test_a_drop_is_held_against_what_was_trained_before_compressing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not against the fresh weights that the run began with, and on the same images."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: lost\nmodel: lenet5\ndata: 'folder:{data}'\n"
        "stages:\n"
        "  - finetune: {epochs: 6, batch_size: 8}\n"
        "  - sparsify: {sparsity: 0.99, epochs: 0}\n"
        "budget: {top1_drop: 0.02}\n"
    )

    code = main(["run", str(recipe), "-q", "--json", "--out", str(tmp_path / "run")])

    report = json.loads(capsys.readouterr().out)
    assert code == report["exit_code"] == Exit.BUDGET
    rows = {row["stage"]: row["top1"] for row in report["rows"]}
    (check,) = (each for each in report["checks"] if each["limit"] == "top1_drop")
    assert report["budget"]["reference"] == "finetune"
    assert check["measured"] == pytest.approx(rows["finetune"] - rows["sparsify"])
    assert check["low"] < check["measured"] < check["high"]
    assert "against finetune (" in check["sentence"]
    assert report["ship"] == []
    assert report["verdict"].startswith("budget missed: ")


def test_a_file_that_cannot_be_written_does_not_hide_the_others(
    data: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its reason is the verdict, with the exit code of what refused it."""

    def refuse(*_: object, **__: object) -> None:
        raise InputRejectedError("layer conv1: TFLite has no such kernel; leave it out")

    monkeypatch.setattr("export.to_tflite.to_tflite", refuse)
    words = ("--model", str(trained), "--data", str(data), "--to", "tflite,onnx")

    code = main(["export", *words, "-q", "--json", "--out", str(tmp_path / "run")])

    report = json.loads(capsys.readouterr().out)
    assert code == report["exit_code"] == Exit.REJECTED
    assert [each["format"] for each in report["artifacts"]] == ["onnx"]
    assert "layer conv1: TFLite has no such kernel" in report["verdict"]
    assert len(report["ship"]) == 1


def test_a_script_reads_json_where_a_run_ends_in_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "lenet5", "--data", f"folder:{tmp_path / 'none'}")

    code = main(["export", *words, "--json", "--out", str(tmp_path / "run")])

    told = capsys.readouterr()
    record = json.loads(told.out)
    assert record["exit_code"] == code == Exit.USAGE
    assert told.err == f"compress: {record['verdict']}\n"
    assert record["ship"] == []


def test_images_are_of_many_classes_where_classes_take_turns() -> None:
    """Every fourth of four classes in turn would be one class."""
    labels = np.arange(4000) % 4

    step = stride(labels, 1000)

    assert len(labels[::step]) <= 1000
    assert set(labels[::step]) == {0, 1, 2, 3}
