"""The adb script, against a stand-in for adb that keeps the words it was given."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docker/device/adb-profile.sh"
# Answers as a telephone; one line of words a call, each word in brackets.
ADB = """#!/bin/sh
for word in "$@"; do printf '[%s]' "$word"; done >> "$LOG"
echo >> "$LOG"
case "$*" in
*get-state*) echo "$STATE" ;;
*cpu.abi*) echo "$ABI" ;;
*product.model*) echo 'Pixel 9' ;;
*version.release*) echo 15 ;;
*benchmark_model*--graph*) echo 'Inference (avg): 5000' ; exit "$ENDS" ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Telephone:
    """A folder with an adb in it, a model and a program to push."""

    place: Path

    def ask(
        self,
        *words: str,
        state: str = "device",
        abi: str = "arm64-v8a",
        ends: int = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run the script with this telephone plugged in."""
        path = f"{self.place / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", str(SCRIPT), *words],
            cwd=self.place,
            env={
                "PATH": path,
                "LOG": str(self.place / "log"),
                "STATE": state,
                "ABI": abi,
                "ENDS": str(ends),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """What adb was asked."""
        return (self.place / "log").read_text(encoding="utf-8").splitlines()


@pytest.fixture(name="telephone")
def telephone_fixture(tmp_path: Path) -> Telephone:
    """One that works."""
    adb = tmp_path / "bin/adb"
    adb.parent.mkdir()
    adb.write_text(ADB, encoding="utf-8")
    adb.chmod(0o755)
    (tmp_path / "my model; reboot.tflite").write_bytes(b"model")
    (tmp_path / "bench").write_bytes(b"program")
    return Telephone(place=tmp_path)


def test_model_and_program_are_pushed_run_and_removed(telephone: Telephone) -> None:
    """A name of the user's never reaches the telephone's shell."""
    done = telephone.ask(
        *("--benchmark", "bench", "--cores", "f0", "--threads", "2"),
        *("--serial", "X1", "my model; reboot.tflite"),
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "telephone: Pixel 9, Android 15" in done.stdout
    assert "Inference (avg): 5000" in done.stdout
    assert all(call.startswith("[-s][X1]") for call in telephone.calls)
    named = [call for call in telephone.calls if "reboot" in call]
    assert len(named) == 1
    assert "[push][my model; reboot.tflite][/data/local/tmp/edgepress-" in named[0]
    (run,) = (call for call in telephone.calls if "--graph" in call)
    assert "[shell][taskset][f0][/data/local/tmp/edgepress-" in run
    assert "[--num_threads=2][--num_runs=200]" in run
    assert "[shell][rm][-rf][/data/local/tmp/edgepress-" in telephone.calls[-1]


def test_what_was_pushed_is_removed_after_a_failure(telephone: Telephone) -> None:
    """The program there ends badly: one sentence and code 7."""
    done = telephone.ask("--benchmark", "bench", "my model; reboot.tflite", ends=1)

    assert done.returncode == 7
    assert "benchmark_model did not end well" in done.stderr
    assert "[rm][-rf]" in telephone.calls[-1]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 2, "which model?"),
        (("none.tflite",), 2, "none.tflite: no such file"),
        (("bench",), 2, "--benchmark is missing"),
        (("--threads", "2; reboot", "bench"), 2, "a number from 1 is wanted"),
        (("--threads", "0", "bench"), 2, "a number from 1 is wanted"),
        (("--cores", "$(reboot)", "bench"), 2, "hexadecimal digits are wanted"),
        (("--runs",), 2, "--runs: a value is missing"),
        (("--wat", "bench"), 2, "--wat: not known"),
        (("bench", "bench"), 2, "one model is measured at a time"),
    ],
)
def test_wrong_words_are_told_before_adb_is_asked(
    telephone: Telephone, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """One sentence, and no call."""
    done = telephone.ask(*words)

    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (telephone.place / "log").exists()


@pytest.mark.parametrize(
    ("state", "abi", "sentence"),
    [
        ("unauthorized", "arm64-v8a", "no telephone answers"),
        ("device", "armeabi-v7a", "the telephone is armeabi-v7a, not arm64-v8a"),
    ],
)
def test_a_telephone_that_cannot_be_measured_is_exit_7(
    telephone: Telephone, state: str, abi: str, sentence: str
) -> None:
    """Nothing was pushed."""
    done = telephone.ask("--benchmark", "bench", "bench", state=state, abi=abi)

    assert done.returncode == 7
    assert sentence in done.stderr
    assert not any("push" in call for call in telephone.calls)


def test_shellcheck_finds_nothing() -> None:
    """Quoting above all."""
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; apt-get install shellcheck")
    done = subprocess.run(
        [shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
