"""`python -m runtime` and `compress` end in a sentence and a code, whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress.cli.main import main as compress
from runtime import __main__ as entry
from runtime import ending, profile
from runtime.errors import Exit

_SLOW = (
    "import sys, time, runtime.profile as p\n"
    "p.execute = lambda *_: (print('ready', flush=True), time.sleep(60))\n"
    "from runtime.__main__ import main\n"
    "sys.exit(main(['x.onnx']))\n"
)
_SLOW_VERB = (
    "import sys, time, compress.cli.verbs.doctor as d\n"
    "d.execute = lambda *_: (print('ready', flush=True), time.sleep(60))\n"
    "from compress.cli.main import main\n"
    "sys.exit(main(['doctor']))\n"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("program", "code"), [("runtime", _SLOW), ("compress", _SLOW_VERB)]
)
def test_a_signal_is_a_sentence_and_130(
    program: str, code: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        _, told = child.communicate(timeout=120)

    assert child.returncode == Exit.INTERRUPTED
    assert told.startswith(f"{program}: interrupted; ")
    assert told.count("\n") == 1


# JAX, which a converter of another test loads, warns of every fork of its process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forked_child_dies_of_the_signal_as_usual() -> None:
    """Whoever ends its workers that way must not hear from them."""
    reader, writer = os.pipe()
    with ending.terminable():
        child = os.fork()
        if child == 0:
            os.write(writer, b".")
            time.sleep(60)
            os._exit(0)
        os.read(reader, 1)  # a signal during the fork itself is forgotten
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)

    assert os.WTERMSIG(status) == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_unexpected_error_keeps_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of \x1b[31mours")

    monkeypatch.setattr(profile, "execute", fail)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    assert entry.main(["a.onnx"]) == Exit.BUG

    told = capsys.readouterr().err
    assert told.startswith("runtime: this is a bug in edgepress (ZeroDivisionError: of")
    assert told.count("\n") == 1
    assert "\x1b" not in told
    (kept,) = tmp_path.iterdir()
    assert str(kept) in told
    assert "python -m runtime a.onnx" in kept.read_text(encoding="utf-8")
    assert "Traceback" in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("program", ["runtime", "compress"])
def test_a_reader_that_leaves_early_is_no_error(program: str) -> None:
    """As `head` does: nothing on stderr, and no code of Python's own."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", program, "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (Exit.FIT, "")


@pytest.mark.parametrize(
    "flags",
    [
        ["--seed", "-1"],
        ["--seed", str(10**30)],
        ["--threads", "1000000"],
        ["--runs", str(10**12)],
    ],
)
def test_numbers_that_no_machine_takes_are_usage(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["no.onnx", *flags]) == Exit.USAGE
    assert f"runtime: {flags[0]} {flags[1]}; allowed: up to" in capsys.readouterr().err


def test_a_name_cannot_write_lines_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither entry point prints what a file's name asks the terminal to do."""
    name = "a\n\x1b[2Jcompress: fit to ship\udcff.onnx"
    for ask in (lambda: entry.main([name]), lambda: compress(["profile", name])):
        assert ask() == Exit.USAGE
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert (
            r"a\n\x1b[2Jcompress: fit to ship\udcff.onnx: is no name in UTF-8" in told
        )
