"""A device that a recipe names is asked for every time; here it is a made-up board."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from compress import measuring
from compress.cli import main
from compress.measuring import parted
from runtime.artifact import Artifact
from runtime.errors import DeviceError, Exit, RecipeError
from runtime.machine import Machine, this_machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice, profile_files

PI5 = replace(
    this_machine(),
    board="Raspberry Pi 5",
    cpu="Cortex-A76",
    arch="aarch64",
    features=("asimd", "asimddp"),
    cores=4,
    emulator=None,
)


ORIN = replace(PI5, board="Jetson Orin Nano", cpu="Cortex-A78AE")


@dataclass
class Board:
    """Runs files in this process and says `there` did, INT8 ones `slower` times."""

    name: str = "pi5"
    there: Machine = PI5
    slower: float = 1.0
    emulator: str | None = None
    asked: list[tuple[list[str], Plan]] = field(default_factory=list)

    def machine(self) -> Machine:
        """What it says of itself."""
        return replace(self.there, emulator=self.emulator)

    def measure(self, files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
        """Measure here, quickly."""
        self.asked.append(([path.name for path in files], plan))
        quick = replace(plan, runs=20, seconds=None, runtime=None)
        found = profile_files(files, quick, screen)
        by_name = {path.name: path for path in files}
        there = []
        for each in found.measurements:
            whole = Artifact.read(by_name[each.file]).dtype == "int8"
            factor = self.slower if whole else 1.0
            there.append(
                dataclasses.replace(
                    each,
                    machine=self.machine(),
                    runtime=plan.runtime or each.runtime,
                    samples_ns=tuple(round(ns * factor) for ns in each.samples_ns),
                    p50=None if each.p50 is None else each.p50.scaled(factor),
                )
            )
        return replace(found, measurements=tuple(there))


@pytest.fixture(name="plug")
def plug_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[[Board], Board]:
    """Let a board be found by its name."""

    def plug(board: Board) -> Board:
        def found(name: str) -> Board:
            assert name == board.name
            return board

        monkeypatch.setattr(measuring, "device", found)
        measuring.machine_of.cache_clear()
        return board

    return plug


@pytest.mark.parametrize(
    ("name", "computes", "measures"),
    [
        ("cpu", "cpu", None),
        ("cuda:1", "cuda:1", None),
        ("pi5", "cpu", "pi5"),
        ("docker:arm64", "cpu", "docker:arm64"),
        ("cuda, pi5", "cuda", "pi5"),
    ],
)
def test_one_flag_names_what_computes_and_what_measures(
    name: str, computes: str, measures: str | None
) -> None:
    """What torch knows computes."""
    assert parted(name) == (computes, measures)


@pytest.mark.parametrize("name", ["pi4,pi5", "cpu,cuda"])
def test_two_of_a_sort_are_refused(name: str) -> None:
    """A fleet is for `profile`."""
    with pytest.raises(RecipeError, match="at most one that computes"):
        parted(name)


def run_for(
    network: Path, data: Path, out: Path, *words: str
) -> tuple[int, dict[str, Any]]:
    """Quantize a small network with a board plugged in; the code and the report."""
    asked = ("quantize", "--model", str(network), "--data", str(data))
    code = main([*asked, "--out", str(out), "-q", "--device", "pi5", *words])
    report = out / "report.json"
    return code, json.loads(report.read_text()) if report.is_file() else {}


@pytest.mark.slow
def test_files_are_made_for_the_board_and_measured_on_it(
    network: Path,
    plug: Callable[[Board], Board],
    draw_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Layout, latencies, a limit on them and the advice are the board's."""
    board = plug(Board(slower=20))
    data = draw_folder(tmp_path / "data")

    _, report = run_for(network, data, tmp_path / "run", "--latency-ms", "1000")

    files = {each["path"] for each in report["artifacts"]}
    assert "artifacts/model-lenet5-int8-arm64.onnx" in files
    assert {each["device"] for each in report["measurements"]} == {"Raspberry Pi 5"}
    assert report["recipe"]["export"]["device"] == "pi5"
    (asked,) = board.asked
    assert asked[1].compare
    (limit,) = (
        each
        for each in report["checks"]
        if each["limit"] == "latency_ms" and "int8" in each["file"]
    )
    assert limit["kept"] is True
    assert limit["measured"] == pytest.approx(
        next(e["p50_ms"] for e in report["measurements"] if "int8" in e["path"])
    )
    assert {each["target"] for each in report["ship"]} <= {"pi5"}


@pytest.mark.slow
def test_a_jetson_times_its_own_files_by_tensorrt(
    network: Path,
    plug: Callable[[Board], Board],
    draw_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """One after the other, as trtexec does; and no candidates, slow to build there."""
    board = plug(Board(there=ORIN))
    data = draw_folder(tmp_path / "data")

    _, report = run_for(network, data, tmp_path / "run", "--target", "jetson")

    ((names, plan),) = board.asked
    assert names == ["start-lenet5.onnx", "model-lenet5-int8-jetson.onnx"]
    assert (plan.runtime, plan.compare) == ("trtexec", False)
    assert {each["device"] for each in report["measurements"]} == {"Jetson Orin Nano"}
    assert {each["target"] for each in report["ship"]} == {"jetson"}


@pytest.mark.slow
def test_what_is_faster_in_float_there_stays_float(
    network: Path,
    plug: Callable[[Board], Board],
    draw_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """The placement search asks the board, candidate by candidate."""
    board = plug(Board())
    data = draw_folder(tmp_path / "data")

    _, report = run_for(network, data, tmp_path / "run", "--target", "generic-arm64")

    (file,) = (each for each in report["artifacts"] if "int8" in each["path"])
    assert file["placement"]["measured"] is True
    tried = [names for names, _ in board.asked if names[0] == "0.onnx"]
    assert len(tried) >= 2
    assert tried[0] == ["0.onnx", "1.onnx"]


def test_an_emulated_board_is_refused_before_any_work(
    network: Path,
    plug: Callable[[Board], Board],
    draw_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its times choose nothing."""
    plug(Board(emulator="qemu-aarch64"))

    code, report = run_for(network, draw_folder(tmp_path / "d"), tmp_path / "run")

    assert (code, report) == (Exit.DEVICE, {})
    assert "Raspberry Pi 5 is emulated" in capsys.readouterr().err


def test_emulated_times_that_come_back_are_refused(
    plug: Callable[[Board], Board], tmp_path: Path
) -> None:
    """A board may only find out while it measures."""
    from tests.compress.devices.test_remote import net

    plug(Board(emulator="qemu-aarch64"))
    from compress.screen import Screen

    with pytest.raises(DeviceError, match="is emulated"):
        measuring.measured(
            "pi5",
            [net(tmp_path / "a.onnx")],
            threads=1,
            seed=0,
            screen=Screen(verbosity="quiet"),
        )
