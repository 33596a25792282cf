"""A fleet answers in one table; its size costs rows, not samples."""

import json
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from loopback import Sshd

from compress.cli.main import main
from compress.devices.address import Address
from compress.devices.fleet import Errand, profile_fleet
from compress.devices.inventory import Board, add
from compress.devices.local import LocalDevice
from compress.devices.together import AT_ONCE, together, worst
from runtime.checking import Checks
from runtime.errors import DeviceError, MissingDependencyError
from runtime.machine import Machine, this_machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice
from runtime.reading import read_profile


class Silent:
    """Nobody listens."""

    def tell(self, sentence: str) -> None:
        del sentence


@pytest.fixture(scope="module")
def measured(net: Path) -> Profile:
    """What this machine measures."""
    return LocalDevice().measure([net], Plan(runs=10), Silent())


@dataclass
class Simulated:
    """A board that answers with JSON of so many samples, or with an error."""

    name: str
    answer: str
    error: Exception | None = None
    seen: list[int] = field(default_factory=list)

    def machine(self) -> Machine:
        return this_machine()

    def measure(self, files: Sequence[Path], plan: Plan, console: Voice) -> Profile:
        del files, plan, console
        if self.error is not None:
            raise self.error
        self.seen.append(threading.active_count())
        return read_profile(self.answer, source=self.name)

    def check(self, files: Sequence[Path], plan: Plan, console: Voice) -> Checks:
        raise NotImplementedError


def many_samples(profile: Profile, count: int) -> str:
    """The JSON of a measurement with `count` samples."""
    (one,) = profile.measurements
    drawn = tuple(1_000_000 + 97 * number % 1_009 for number in range(count))
    return replace(profile, measurements=(replace(one, samples_ns=drawn),)).as_json()


@pytest.mark.slow
def test_a_thousand_devices_are_one_report_within_a_minute_and_flat_memory(
    measured: Profile, tmp_path: Path
) -> None:
    """Held at once, their samples would take 36 MB."""
    count = 1_000
    text = many_samples(measured, count)
    seen: list[int] = []
    devices = {
        f"board-{number}": Simulated(
            f"board-{number}",
            text,
            DeviceError("does not answer") if number % 100 == 7 else None,
            seen,
        )
        for number in range(1_000)
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    threads, started = threading.active_count(), time.monotonic()
    errand = Errand(files=(), plan=Plan(), console=Silent(), out=tmp_path)
    fleet = profile_fleet(devices, errand)
    took_s = time.monotonic() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert took_s < 60
    assert grown < 20e6, grown
    assert max(seen) <= threads + AT_ONCE
    assert fleet.exit_code == 7
    record = json.loads(fleet.as_json())["devices"]
    assert [each["device"] for each in record] == [*devices]
    assert sum(each["error"] is not None for each in record) == 10
    kept = json.loads((tmp_path / "board-0.json").read_text())
    assert len(kept["measurements"][0]["samples_ns"]) == count
    assert "samples_ns" not in record[0]["measurements"][0]
    assert len(list(tmp_path.iterdir())) == 990
    lines = fleet.as_text().splitlines()
    assert "990 of 1000 devices measured." in lines
    assert max(map(len, lines)) <= 80


def test_each_failure_is_a_sentence_and_the_exit_code_is_the_worst(
    measured: Profile,
) -> None:
    text = measured.as_json()
    devices = {
        "pi4": Simulated("pi4", text, MissingDependencyError("pi4: needs numpy")),
        "pi5": Simulated("pi5", text),
        "orin": Simulated("orin", text, DeviceError("orin: the connection was lost")),
    }
    errand = Errand(files=(), plan=Plan(), console=Silent())
    fleet = profile_fleet(devices, errand)
    assert fleet.exit_code == 7
    told = fleet.as_text()
    assert "pi4: needs numpy." in told
    assert "orin: the connection was lost." in told
    assert "1 of 3 devices measured." in told
    (one,) = measured.measurements
    hot = replace(one, disturbance=replace(one.disturbance, throttled=True))
    invalid = Simulated("pi3", replace(measured, measurements=(hot,)).as_json())
    fleet = profile_fleet({"pi3": invalid}, errand)
    assert fleet.exit_code == 7
    assert fleet.as_text().count("throttled") == 1
    assert "Invalid: pi3: the machine throttled" in fleet.as_text()
    devices["orin"].error = ValueError("a bug of ours")
    broken = profile_fleet(devices, errand)
    assert broken.exit_code == 1
    assert "orin: this is a bug in edgepress" in (broken.rows[2].error or "")
    assert worst([]) == 0


def test_whoever_leaves_early_waits_for_nobody_that_was_not_begun() -> None:
    begun: list[int] = []
    for item, _ in together(begun.append, range(1_000), at_once=3):
        assert item < 3
        break
    assert len(begun) <= 6


@pytest.mark.slow
def test_boards_and_this_machine_are_one_table(
    sshd: Sshd, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(sshd.board(name="pi5"))
    add(sshd.board(name="gone", port=1))
    words = ["profile", str(net), "--runs", "10", "--device", "pi5,gone,cpu"]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 7
    done = capsys.readouterr()
    record = json.loads(done.out)["devices"]
    assert [each["exit_code"] for each in record] == [0, 7, 0]
    assert record[0]["measurements"][0]["path"] == net.name
    assert "gone: nothing listens on port 1" in record[1]["error"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"pi5.json", "cpu.json", "profile.json"}


@pytest.mark.parametrize(
    ("devices", "code", "says"),
    [
        ("pi5,pi5", 2, "a name is twice there"),
        ("pi5,", 2, "a name is twice there, or empty"),
        ("pi5,other", 7, "--device other: not known"),
    ],
)
def test_a_fleet_that_is_none_is_refused_before_any_work(
    net: Path, devices: str, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(Board(name="pi5", address=Address(host="127.0.0.1", port=1)))
    assert main(["profile", str(net), "--device", devices]) == code
    told = capsys.readouterr().err
    assert says in told
    assert "port 1" not in told
