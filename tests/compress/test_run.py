"""A whole run, from images to a report, on a network that trains in a second."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from compress.cli.main import main
from runtime.artifact import Artifact
from runtime.checking import check_files
from runtime.errors import Exit, InputRejectedError

ROOT = Path(__file__).parents[2]
# What the issue promises of report.json, beside what a table row or a file has.
CONTRACT = {
    "": "schema name data recipe machine rows artifacts measurements budget",
    "data": "name train val classes",
    "rows": "stage params macs size_bytes top1 seconds",
    "artifacts": "path format dtype target sha256 size_bytes top1 int8_macs_fraction "
    "parity",
    "measurements": "artifact_sha256 runtime device kind threads runs p50_ms p90_ms "
    "p99_ms peak_rss_bytes doubts",
    "budget": "limits violations",
}


@dataclass(frozen=True)
class Ran:
    """A command that ended: its exit code, and what it said on each stream."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str


def ran(*words: str) -> Ran:
    """Run a command in this process."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(list(words))
    return Ran(words, code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Whole:
    """A finished run and the command behind it."""

    command: Ran
    folder: Path
    data: Path
    cache: Path

    @property
    def report(self) -> dict[str, list[dict[str, object]]]:
        """What report.json holds."""
        found: dict[str, list[dict[str, object]]] = json.loads(
            (self.folder / "report.json").read_text()
        )
        return found

    def digests(self) -> dict[str, str]:
        """SHA-256 of every model file, by its name."""
        return digests(self.folder)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the model files of a run."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "artifacts").glob("*.onnx")
    }


def distill(data: Path, out: Path, *words: str) -> tuple[str, ...]:
    """A small student of a small teacher that has to be trained first."""
    return (
        *("distill", "--teacher", "lenet5", "--teacher-width", "2"),
        *("--teacher-epochs", "2", "--student", "lenet5", "--epochs", "2"),
        *("--views", "2", "--batch-size", "16", "--data", str(data)),
        *("--out", str(out), *words),
    )


def tuning(whole: "Whole") -> list[str]:
    """The words that train a small network for one epoch, where is left to say."""
    return ["finetune", "--model", "lenet5", "--data", str(whole.data), "--epochs", "1"]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, draw_folder: Callable[..., Path]
) -> Whole:
    """One distillation with a baseline, answered as JSON."""
    place = tmp_path_factory.mktemp("whole")
    data, out = draw_folder(place / "data"), place / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(place / "cache"))
        command = ran(*distill(data, out, "--baseline", "--json"))
    return Whole(command, out, data, place / "cache")


def test_stdout_is_exactly_the_report(whole: Whole) -> None:
    assert whole.command.code == Exit.FIT, whole.command.err
    assert whole.command.out == (whole.folder / "report.json").read_text()


def test_the_report_keeps_the_contract(whole: Whole) -> None:
    report: dict[str, object] = dict(whole.report)
    report[""] = whole.report
    for key, promised in CONTRACT.items():
        records = report[key] if isinstance(report[key], list) else [report[key]]
        assert records, key
        for record in records:  # type: ignore[attr-defined]
            assert set(promised.split()) <= set(record), key
    assert report["data"] == {"name": "data", "train": 32, "val": 8, "classes": 4}


def test_the_rows_are_who_was_there(whole: Whole) -> None:
    """LeNet-5's parameters by hand, for three colors and four classes."""
    rows = {row["stage"]: row for row in whole.report["rows"]}
    assert list(rows) == ["teacher", "start", "distill", "alone"]
    by_hand = sum(
        (
            3 * 6 * 25 + 6,
            6 * 16 * 25 + 16,
            16 * 120 * 25 + 120,
            120 * 84 + 84,
            84 * 4 + 4,
        )
    )
    assert {rows[name]["params"] for name in ("start", "distill", "alone")} == {by_hand}
    assert rows["distill"]["size_bytes"] == 4 * by_hand


def test_files_are_what_the_report_says_they_are(whole: Whole) -> None:
    for artifact in whole.report["artifacts"]:
        content = (whole.folder / str(artifact["path"])).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
        assert len(content) == artifact["size_bytes"]
        sidecar = json.loads((whole.folder / f"{artifact['path']}.json").read_text())
        assert sidecar["sha256"] == artifact["sha256"]
        assert sidecar["classes"] == ["a", "b", "c", "d"]
        assert artifact["parity"]["argmax_agreement"] == 1  # type: ignore[index]
    measured = {each["artifact_sha256"] for each in whole.report["measurements"]}
    assert measured == set(whole.digests().values())


def test_the_manifest_vouches_for_every_file(whole: Whole) -> None:
    listed = json.loads((whole.folder / "manifest.json").read_text())["files"]
    there = {
        path.relative_to(whole.folder).as_posix()
        for path in whole.folder.rglob("*")
        if path.is_file()
    }
    own = {"manifest.json", "events.jsonl", ".lock"}
    assert {each["path"] for each in listed} == there - own
    for each in listed:
        content = (whole.folder / each["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"], each["path"]
        assert len(content) == each["bytes"]
    expected = {"recipe.yaml", "report.md", "report.html", "01-distill/model.json"}
    assert expected <= there


def test_the_conversation_and_the_curves_are_in_the_journal(whole: Whole) -> None:
    lines = (whole.folder / "events.jsonl").read_text().splitlines()
    told = [event["text"] for line in lines if (event := json.loads(line))["kind"]]
    said = [text for text in told if text in whole.command.err]
    assert any(
        "has no weights for data, so it is trained first" in each for each in said
    )
    curves = {(point["stage"], point["epoch"]) for point in whole.report["curves"]}
    assert {("distill", 1.0), ("distill", 2.0)} <= curves


def test_show_prints_the_report_again(whole: Whole) -> None:
    shown = ran("show", str(whole.folder), "--json")
    assert (shown.code, shown.out) == (Exit.FIT, whole.command.out)
    text = ran("show", str(whole.folder))
    assert "student" in text.out
    assert "verdict  fit to ship" in text.out


def test_the_same_command_again_reuses_what_is_finished(whole: Whole) -> None:
    """Measurements differ from run to run, so equal output was not measured anew."""
    before = {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*") if p.is_file()}
    again = ran(*whole.command.words)
    assert (again.code, again.out) == (Exit.FIT, whole.command.out)
    assert "this run is complete; here is its report" in again.err
    assert before == {
        p: p.stat().st_mtime_ns for p in whole.folder.rglob("*") if p.is_file()
    }


def test_quiet_leaves_only_the_answer(whole: Whole, tmp_path: Path) -> None:
    words = tuning(whole)
    quiet = ran(*words, "-q", "--out", str(tmp_path / "run"))
    # Whether a fresh network learns enough in an epoch is not the point here.
    assert quiet.code in {Exit.FIT, Exit.BUDGET}
    assert quiet.err == ""
    assert quiet.out == ran("show", str(tmp_path / "run")).out


@pytest.mark.usefixtures("own_cache")
def test_the_written_recipe_gives_the_same_files_again(
    whole: Whole, tmp_path: Path
) -> None:
    """In an empty cache: teacher, answers and student are all made anew."""
    recipe = str(whole.folder / "recipe.yaml")
    again = ran("run", recipe, "--out", str(tmp_path / "run"), "--json")
    assert again.code == Exit.FIT, again.err
    assert "is trained first" in again.err
    assert digests(tmp_path / "run") == whole.digests()


def test_another_seed_gives_another_student(whole: Whole, tmp_path: Path) -> None:
    other = ran(*distill(whole.data, tmp_path / "run", "--seed", "7", "-q"))
    assert other.code in {Exit.FIT, Exit.BUDGET}, "whether it learned is chance"
    student = "student-lenet5.onnx"
    assert digests(tmp_path / "run")[student] != whole.digests()[student]


def test_another_run_reuses_the_teacher_and_its_answers(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(whole.cache))
    words = distill(whole.data, tmp_path / "run", "--alpha", "0.1")
    other = ran(*words)
    assert other.code == Exit.FIT
    assert "teacher lenet5: reused, trained earlier" in other.err
    assert "teacher's answers: reused, 2 views" in other.err


def test_eval_agrees_with_the_report_on_run_and_file(whole: Whole) -> None:
    """Three ways to the same number: the run's costs_of, its network, its file."""
    (row,) = (row for row in whole.report["rows"] if row["stage"] == "distill")
    for subject in (whole.folder, whole.folder / "artifacts/student-lenet5.onnx"):
        words = ("eval", "--model", str(subject), "--data", str(whole.data), "--json")
        found = ran(*words)
        assert found.code == Exit.FIT, found.err
        answer = json.loads(found.out)
        assert set(answer) == {"top1", "top5", "images", "classes"}
        assert answer["top1"] == row["top1"]
        assert (answer["images"], answer["classes"]) == (8, 4)


def test_a_run_can_be_exported_again(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "export",
        "--model",
        str(whole.folder),
        "--to",
        "onnx",
        "--batch",
        "dynamic",
    ]
    again = ran(*words, "--data", str(whole.data), "--out", str(out), "--json")
    assert again.code == Exit.FIT, again.err
    (artifact,) = json.loads(again.out)["artifacts"]
    assert artifact["parity"]["argmax_agreement"] == 1
    assert [row["stage"] for row in json.loads(again.out)["rows"]] == ["start"]


def test_a_missed_budget_is_the_verdict(whole: Whole, tmp_path: Path) -> None:
    words = ["export", "--model", str(whole.folder), "--data", str(whole.data)]
    words += ["--latency-ms", "0.0001", "--out", str(tmp_path / "run"), "-q"]
    missed = ran(*words)
    assert missed.code == Exit.BUDGET
    assert "budget missed" in missed.out
    assert ran("show", str(tmp_path / "run")).code == Exit.BUDGET


# Where a run can be met, in its order: what it calls there, and once in a while.
STAGES = {
    "decoding": "compress.data.pixels.decoded_images",
    "teacher training": "compress.training.losses.classification_loss",
    "teacher's answers": "compress.training.teacher_cache.batches",
    "student training": "compress.training.losses.distillation_loss",
    "export": "torch.onnx.export",
    "proof": "compress.pipeline.file_judge.parity_of",
    "measurement": "compress.pipeline.deliver.measure_together",
    "report": "compress.report.report.write_text",
}


@pytest.mark.usefixtures("own_cache")
def test_a_run_interrupted_at_every_stage_ends_as_if_it_had_not_been(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, the same command, Ctrl-C …; the files of the undisturbed run judge."""
    import importlib

    words = distill(whole.data, tmp_path / "run", "--baseline")
    for stage, place in STAGES.items():
        module, name = place.rsplit(".", 1)
        real = getattr(importlib.import_module(module), name)
        times = iter([True])

        def interrupted(
            *given: object,
            real: Callable[..., object] = real,
            times: Iterator[bool] = times,
            **named: object,
        ) -> object:
            if next(times, False):
                signal.raise_signal(signal.SIGINT)
            return real(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            stopped = ran(*words)
        assert stopped.code == Exit.INTERRUPTED, (stage, stopped.err)
        assert stopped.out == ""
        last = stopped.err.splitlines()[-1]
        assert last.startswith("compress: "), stage
        assert "run the same command" in last, stage
        assert not list(tmp_path.rglob("*.part")), stage
    finished = ran(*words)
    assert finished.code == Exit.FIT, finished.err
    assert digests(tmp_path / "run") == whole.digests()


@pytest.mark.usefixtures("own_cache")
def test_a_signal_from_outside_stops_training_and_the_run_goes_on(
    whole: Whole, tmp_path: Path
) -> None:
    """A process of its own and a real SIGINT, sent after the first epoch."""
    out = tmp_path / "run"
    words = ["finetune", "--model", "lenet5", "--data", str(whole.data)]
    words += ["--epochs", "150", "--out", str(out)]
    command = [sys.executable, "-m", "compress", *words]
    journal = out / "events.jsonl"
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            if journal.is_file() and '"epoch"' in journal.read_text():
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.005)
        printed, told = process.communicate()
    assert (process.returncode, printed) == (Exit.INTERRUPTED, ""), told
    assert "compress: finetune: stopped " in told
    assert "Traceback" not in told
    assert (out / "01-finetune/state.safetensors").is_file()
    finished = ran(*words)
    assert finished.code == Exit.FIT
    assert "goes on at epoch" in finished.err
    assert not (out / "01-finetune/state.safetensors").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_two_processes_share_one_run(whole: Whole, tmp_path: Path) -> None:
    """As `torchrun` starts them: one answers, one folder, no quarrel."""
    out = tmp_path / "run"
    words = tuning(whole)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "compress"]
    done = subprocess.run(
        [sys.executable, *launch, *words, "--json", "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {Exit.FIT, Exit.BUDGET}, done.stderr
    assert done.stdout == (out / "report.json").read_text()


def test_every_file_carries_a_test_that_it_passes(whole: Whole) -> None:
    """Asked in the file's own runtime; the network answered in float64."""
    files = sorted((whole.folder / "artifacts").glob("*.onnx"))
    assert check_files(files).exit_code == Exit.FIT
    for artifact in whole.report["artifacts"]:
        carried = artifact["selftest_bytes"]
        assert isinstance(carried, int)
        assert 0 < carried <= 40_000
        assert carried < 0.05 * artifact["size_bytes"]  # type: ignore[operator]


def test_a_file_need_not_carry_a_test(whole: Whole, tmp_path: Path) -> None:
    """It is as much smaller as the report said, but for a little framing."""
    words = ["export", "--model", str(whole.folder), "--no-selftest"]
    out = tmp_path / "out"
    done = ran(*words, "--out", str(out), "-q")
    assert done.code == Exit.FIT, done.err
    (bare,) = (out / "artifacts").glob("*.onnx")
    with pytest.raises(InputRejectedError, match="carries no self-test"):
        check_files([bare])
    (carrying,) = (whole.folder / "artifacts").glob("student-*.onnx")
    tested = Artifact.read(carrying)
    saved = tested.size_bytes - bare.stat().st_size
    assert tested.selftest_bytes <= saved <= tested.selftest_bytes + 200
