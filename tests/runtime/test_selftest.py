"""The self-test that a model file carries, and `--check`, which runs it."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime import measure
from runtime.artifact import INSIDE, Artifact
from runtime.checking import check_files
from runtime.errors import EdgepressError, Exit, InputRejectedError
from runtime.machine import this_machine
from runtime.plan import Plan
from runtime.preprocess import Preprocess
from runtime.profiling import profile_files
from runtime.reading import read_profile
from runtime.selftest import (
    IMAGES,
    SelfTest,
    enlarged,
    kept_outputs,
    reduced,
    side_for,
)

ROOT = Path(__file__).parents[2]
SIZE, CLASSES = 8, 100
FED = Preprocess(size=SIZE, resize=SIZE)


class Unheard:
    """Nobody listens."""

    def tell(self, sentence: str) -> None:
        pass


def images(side: int = 4) -> np.ndarray:
    """Three images of noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, side, side, 3), np.uint8)


def weight() -> np.ndarray:
    """Of the linear network that the files below are."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((3 * SIZE * SIZE, CLASSES)).astype(np.float32) / 14


def selftest(step: float | None = None) -> SelfTest:
    """What a file with these weights should answer, computed here in float64."""
    fed = FED(enlarged(images(), SIZE)).astype(np.float64)
    scores = (fed.reshape(IMAGES, -1) @ weight()).astype(np.float32)
    outputs = kept_outputs(scores)
    return SelfTest(
        pixels=images(),
        outputs=outputs,
        scores=scores[:, list(outputs)],
        tolerance=1e-3 if step is None else step,
        step=step,
    )


def file(path: Path, weights: np.ndarray, test: SelfTest | None) -> Path:
    """A linear ONNX file that carries `test`, as an exporter writes it."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    facts: dict[str, object] = {"preprocess": FED.as_record()}
    if test is not None:
        facts["selftest"] = test.as_record()
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, path)
    return path


def test_a_record_gives_the_same_test_back() -> None:
    """Also through JSON, where a score is a decimal number."""
    made = selftest()
    read = SelfTest.from_record(json.loads(json.dumps(made.as_record())), source="x")
    np.testing.assert_array_equal(read.pixels, made.pixels)
    np.testing.assert_array_equal(read.scores, made.scores)
    assert (read.outputs, read.tolerance) == (made.outputs, made.tolerance)
    assert read.step is None


@pytest.mark.parametrize("size", [4, 7, 8, 32, 227])
def test_enlarging_repeats_pixels_and_reducing_finds_them_again(size: int) -> None:
    small = images(4)
    large = enlarged(small, size)
    assert large.shape == (IMAGES, size, size, 3)
    for row in range(size):
        np.testing.assert_array_equal(large[:, row, 0], small[:, row * 4 // size, 0])
    np.testing.assert_array_equal(reduced(large, 4), small)


def test_a_test_is_small_beside_its_network() -> None:
    """A hundredth of the weights, and between 1 and 28 kB, before base64."""
    assert side_for(14_000_000, size=224) == side_for(10**9, size=224) == 56
    assert side_for(10_000_000, size=32) == 32
    for weights in (10_000, 300_000, 1_000_000, 10**8):
        stored = 3 * IMAGES * side_for(weights, size=224) ** 2
        assert stored <= min(28_224, max(1_024, weights / 100))


def test_of_many_scores_the_best_are_kept_and_a_sample() -> None:
    scores = np.random.default_rng(2).standard_normal((3, 1000)).astype(np.float32)
    kept = kept_outputs(scores)
    assert set(scores.argmax(axis=1).tolist()) <= set(kept)
    assert len(kept) <= 64
    assert {0, 999} <= set(kept)
    assert kept_outputs(scores[:, :10]) == tuple(range(10))


def test_a_file_that_computes_what_was_trained_passes(tmp_path: Path) -> None:
    path = file(tmp_path / "a.onnx", weight(), selftest())
    answer = check_files([path])
    assert answer.exit_code == Exit.FIT
    (found,) = answer.files
    assert (found.images, found.unlike) == (IMAGES, 0)
    assert found.error < 1e-5
    assert "a.onnx: computes what was trained: 3 images" in answer.as_text()


def test_an_int8_file_may_be_one_step_off_and_no_more(tmp_path: Path) -> None:
    """One score is moved by as much on every image."""
    step = 0.05
    fed = FED(enlarged(images(), SIZE)).reshape(IMAGES, -1)
    for far, fits in ((0.9, True), (1.1, False)):
        moved = weight()
        inverse = np.linalg.pinv(fed.astype(np.float64)).sum(axis=1)
        moved[:, 0] += far * step * inverse
        path = file(tmp_path / f"{fits}.onnx", moved, selftest(step))
        answer = check_files([path])
        assert answer.exit_code == (Exit.FIT if fits else Exit.PARITY)
        assert answer.files[0].error / step == pytest.approx(far, rel=1e-3)
        assert f"{far:.1f} INT8 step" in answer.as_text()


def test_a_score_that_was_not_kept_cannot_win_unseen(tmp_path: Path) -> None:
    test = selftest()
    left_out = next(each for each in range(CLASSES) if each not in test.outputs)
    moved = weight()
    moved[:, left_out] = 2 * moved[:, test.outputs[test.scores[0].argmax()]]
    (found,) = check_files([file(tmp_path / "a.onnx", moved, test)]).files
    assert not found.passed
    assert found.unlike


def test_scores_that_are_no_numbers_do_not_pass(tmp_path: Path) -> None:
    moved = weight()
    moved[:, 0] = np.nan
    (found,) = check_files([file(tmp_path / "a.onnx", moved, selftest())]).files
    assert not found.passed


def test_a_check_is_an_exit_code_and_a_sentence(tmp_path: Path) -> None:
    """Of two files one is broken: said on stdout, and the exit code is 4."""
    good = file(tmp_path / "good.onnx", weight(), selftest())
    bad = file(tmp_path / "bad.onnx", weight() * 1.1, selftest())
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "--check", "--json", str(good), str(bad)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (Exit.PARITY, "")
    first, second = json.loads(done.stdout)["checks"]
    assert (first["passed"], second["passed"]) == (True, False)
    assert "does NOT compute what was trained: image " in second["sentence"]


def test_a_file_without_a_test_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputRejectedError, match="carries no self-test"):
        check_files([file(tmp_path / "a.onnx", weight(), None)])


def test_a_twin_refers_to_the_test_in_the_file(tmp_path: Path) -> None:
    """It is kept once, and found with the twin and without."""
    path = file(tmp_path / "a.onnx", weight(), selftest())
    artifact = Artifact.read(path)
    artifact.write_twin()
    twin = json.loads(artifact.twin.read_text(encoding="utf-8"))
    assert twin["selftest"] == INSIDE
    assert twin["selftest_bytes"] == len(json.dumps(selftest().as_record()))
    assert check_files([path]).exit_code == Exit.FIT


def test_a_twin_holds_the_test_of_a_file_that_cannot(tmp_path: Path) -> None:
    path = file(tmp_path / "a.onnx", weight(), None)
    bare = Artifact.read(path)
    replace(bare, selftest=selftest(), selftest_inside=False).write_twin()
    assert Artifact.read(path).selftest_bytes == 0  # of the file, which has none
    assert check_files([path]).exit_code == Exit.FIT


def _longer(record: dict[str, object]) -> None:
    record["pixels"] = base64.b64encode(bytes(3 * IMAGES * 16 + 1)).decode()


def _ragged(record: dict[str, object]) -> None:
    record["scores"] = [[0.0], [0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(side=0),
        lambda record: record.update(side=100_000),
        lambda record: record.update(pixels="%%%"),
        lambda record: record.update(pixels="A" * (1 << 21)),
        lambda record: record.update(scores=[]),
        lambda record: record.update(outputs=[]),
        lambda record: record.update(outputs=[-1]),
        lambda record: record.update(tolerance=0),
        lambda record: record.update(tolerance="wide"),
        lambda record: record.update(more=1),
        lambda record: record.pop("scores"),
        _longer,
        _ragged,
    ],
)
def test_a_record_from_elsewhere_is_refused_in_a_sentence(
    damage: Callable[[dict[str, object]], object],
) -> None:
    record = selftest().as_record()
    damage(record)
    with pytest.raises(InputRejectedError, match=r"^x: selftest"):
        SelfTest.from_record(record, source="x: selftest")


def test_a_tolerance_that_any_network_would_keep_is_refused(tmp_path: Path) -> None:
    """The oracle is a network that answers 0: it must fail whatever is taken."""
    test = selftest()
    half = float(np.abs(test.scores).max()) / 2
    for wide in (1.01 * half, 1e30):
        path = file(tmp_path / "a.onnx", weight(), replace(test, tolerance=wide))
        with pytest.raises(InputRejectedError, match="half of the largest score"):
            check_files([path])
    nothing = np.zeros_like(weight())
    path = file(tmp_path / "a.onnx", nothing, replace(test, tolerance=half))
    assert check_files([path]).exit_code == Exit.PARITY


def test_a_test_of_scores_that_the_file_does_not_have_is_refused(
    tmp_path: Path,
) -> None:
    test = replace(selftest(), outputs=(*selftest().outputs[:-1], 10_000))
    with pytest.raises(EdgepressError, match="speaks of number 10000"):
        check_files([file(tmp_path / "a.onnx", weight(), test)])


def test_where_latency_is_refused_the_self_test_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a profile under emulation can tell of a file, it tells."""
    machine = replace(this_machine(), emulator="qemu-aarch64")
    monkeypatch.setattr(measure, "this_machine", lambda: machine)
    path = file(tmp_path / "a.onnx", weight(), selftest())
    answer = profile_files([path], Plan(), Unheard())
    (found,) = answer.measurements
    assert found.p50_ms is None
    assert found.answers is not None
    assert found.answers.startswith("a.onnx: computes what was trained")
    text = " ".join(answer.as_text().split())
    assert "Self-test of a.onnx: computes what was trained" in text
    assert read_profile(answer.as_json(), source="there") == answer
