"""A board over a real sshd on loopback: it measures, and whatever breaks is a sentence.

After each fault nothing is left: no process and no folder there, no process here. What
runs on the board is mostly a stand-in for our runtime, which answers at once.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Sshd, linear_net
from proxy import proxy

from compress.cli.main import main
from compress.devices import ssh, wire
from compress.devices.inventory import Board, add
from compress.devices.parcel import runtime_piece
from compress.devices.ssh import SshDevice, ssh_words
from compress.devices.visit import Patience
from runtime.errors import (
    DeviceError,
    EdgepressError,
    InputRejectedError,
    MissingDependencyError,
    ParityError,
    RecipeError,
)
from runtime.files import sha256_of
from runtime.machine import this_machine
from runtime.plan import Plan
from runtime.preprocess import Preprocess
from runtime.profiled import Profile
from runtime.selftest import SelfTest

ROOT = Path(__file__).parents[3]
QUICK = Plan(runs=20, seconds=0.05)
HASTY = Patience(connect_s=3, answer_s=5, run_s=3)
# Runs until it is killed, has a child that no SIGTERM ends, and says that it began.
HANGS = """\
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(BEGAN).write_text("")
time.sleep(600)
"""


class Heard:
    """What was said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def tell(self, sentence: str) -> None:
        self.sentences.append(sentence)


def ssh_processes() -> list[str]:
    """Children of this process that are ssh."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            facts = (process / "stat").read_text().rpartition(")")[2].split()
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if name == "ssh" and int(facts[1]) == os.getpid() and facts[0] != "Z":
            found.append(process.name)
    return found


def refused(
    board: Board,
    file: Path,
    *,
    kind: type[EdgepressError] = DeviceError,
    patience: Patience = HASTY,
) -> str:
    """Measure where it cannot be; the sentence."""
    with pytest.raises(EdgepressError) as caught:
        SshDevice(board, patience).measure([file], QUICK, Heard())
    assert type(caught.value) is kind, caught.value
    sentence = str(caught.value)
    assert sentence.startswith("pi5: ")
    assert "\n" not in sentence
    assert ssh_processes() == []
    return sentence


@pytest.fixture
def acting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put another program in our runtime's place on the board."""

    def act(program: str) -> None:
        folder = tmp_path / "acting"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        (folder / "__main__.py").write_text(program)
        runtime_piece.cache_clear()
        monkeypatch.setattr(ssh, "runtime_piece", lambda: runtime_piece(folder))

    return act


@pytest.fixture(scope="module")
def recorded(sshd: Sshd, net: Path) -> Profile:
    """What the real runtime measures of `net` on the board."""
    return SshDevice(sshd.board()).measure([net], QUICK, Heard())


@pytest.fixture
def answering(acting: Callable[[str], None], recorded: Profile) -> None:
    """The board answers at once, with what was measured before."""
    text = recorded.as_json()
    acting(f"print({text!r})")


def test_a_board_measures_as_this_machine_does(recorded: Profile, net: Path) -> None:
    """The same file, by its digest, under the name that it has here."""
    (one,) = recorded.measurements
    assert one.artifact_sha256 == sha256_of(net)
    assert one.file == net.name
    assert len(one.samples_ns) >= 10


@pytest.mark.usefixtures("recorded")
def test_a_second_visit_copies_nothing_and_leaves_nothing(
    sshd: Sshd, net: Path
) -> None:
    heard = Heard()
    SshDevice(sshd.board()).measure([net], QUICK, heard)
    assert heard.sentences == ["pi5: measuring"]
    assert sshd.settled() == []
    kept = {path.name for path in sshd.store.iterdir()}
    assert {runtime_piece().sha256, sha256_of(net), "lock"} <= kept
    assert not [name for name in kept if name.endswith(".part")]


@pytest.mark.slow
def test_the_self_test_runs_there_first_and_one_that_fails_is_not_measured(
    sshd: Sshd, tmp_path: Path
) -> None:
    """Linear networks; what they should answer is computed here, by numpy."""
    fed = Preprocess(size=8, resize=8)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    scores = fed(pixels).reshape(3, -1).sum(axis=1, keepdims=True).repeat(4, axis=1)
    test = SelfTest(pixels=pixels, outputs=(0, 1, 2, 3), scores=scores, tolerance=1e-3)
    facts = {"preprocess": fed.as_record(), "selftest": test.as_record()}
    good = linear_net(tmp_path / "good.onnx", facts=facts)
    bad = linear_net(tmp_path / "bad.onnx", weight=1.1, facts=facts)
    device, heard = SshDevice(sshd.board()), Heard()
    found = device.check([good, bad], QUICK, heard)
    assert (found.exit_code, len(found.failed)) == (4, 1)
    assert found.sentences[0].startswith("pi5: good.onnx: computes what was trained")
    assert found.sentences[1].startswith("pi5: bad.onnx: does NOT compute")
    with pytest.raises(ParityError, match=r"^pi5: bad.onnx: does NOT compute"):
        device.measure([good, bad], QUICK, heard)
    assert "pi5: measuring" not in heard.sentences
    assert sshd.settled() == []


@pytest.mark.parametrize(
    ("with_", "says"),
    [
        ({"key": "stranger"}, "takes none of your keys .*ssh-copy-id -p"),
        ({"known": "changed"}, "not the one it had before.*ssh-keygen -R"),
        ({"known": "unknown"}, "not known on this machine; compare it by hand"),
        ({"port": 1}, "nothing listens on port 1"),
        ({"python": "/no where/python3"}, "'/no where/python3' cannot be run there"),
        ({"python": "/etc/passwd"}, "cannot be run there .*[Pp]ermission denied"),
    ],
)
def test_a_board_that_does_not_let_us_in_is_a_sentence(
    sshd: Sshd, net: Path, with_: dict[str, str], says: str
) -> None:
    found = pytest.raises(DeviceError, match=f"^pi5: .*{says}")
    with found:
        SshDevice(sshd.board(**with_), HASTY).measure([net], QUICK, Heard())  # type: ignore[arg-type]
    assert sshd.settled() == []


def script(path: Path, text: str) -> str:
    """A program that stands in for the board's Python."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_told_by_its_version(
    sshd: Sshd, net: Path, tmp_path: Path
) -> None:
    """It never reads a line of ours: the check is one that any Python 3 understands."""
    python = script(
        tmp_path / "py thon",
        f"shift 2; code=$1; shift\nexec {sys.executable} -I -c "
        '"import sys; sys.version_info = (3, 8, 1); $code" "$@"',
    )
    assert "Python 3.8 is too old there; allowed: 3.10" in refused(
        sshd.board(python=python), net
    )


def test_an_environment_without_libraries_is_told_what_to_install(
    sshd: Sshd, net: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    board = sshd.board(python=str(tmp_path / "venv/bin/python"))
    sentence = refused(board, net, kind=MissingDependencyError)
    assert "needs numpy" in sentence
    assert f"ssh -p {sshd.port} " in sentence
    assert "-m pip install numpy" in sentence
    assert sshd.settled() == []


def test_a_check_says_what_each_board_is_and_lacks(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that measures, one without libraries, one that is off; the worst counts."""
    venv.create(tmp_path / "venv", with_pip=False)
    bare = str(tmp_path / "venv/bin/python")
    add(sshd.board(name="bare", python=bare))
    add(sshd.board(name="off", port=1))
    add(replace(sshd.board(), name="whole", python=in_a_store_of_its_own(tmp_path)))
    assert main(["devices", "check", "-q"]) == 7
    told = capsys.readouterr().out
    assert "whole: ready" in told
    assert "bare: not ready" in told
    assert (
        "  needs numpy and onnxruntime and ai-edge-litert, not installed there" in told
    )
    assert "  nothing listens on port 1" in told
    assert main(["devices", "check", "bare", "--json", "-q"]) == 6
    (record,) = json.loads(capsys.readouterr().out)["devices"]
    assert record["modules"] == {}
    assert record["machine"]["cpu"] == this_machine().cpu


def in_a_store_of_its_own(folder: Path) -> str:
    """A Python whose visits do not meet those of another board on this machine."""
    text = f'export XDG_CACHE_HOME={folder}\nexec {sys.executable} "$@"'
    return script(folder / "python", text)


@pytest.mark.usefixtures("answering")
def test_what_a_login_prints_is_no_answer(
    sshd: Sshd, net: Path, tmp_path: Path
) -> None:
    loud = script(tmp_path / "loud", f'echo "Welcome {{}}"; exec {sys.executable} "$@"')
    SshDevice(sshd.board(python=loud), HASTY).measure([net], QUICK, Heard())


@pytest.mark.usefixtures("answering")
def test_a_full_disk_is_a_sentence_and_the_file_that_did_not_fit_is_gone(
    sshd: Sshd, tmp_path: Path, net: Path
) -> None:
    """The shell's limit on the length of files refuses as a full disk does."""
    heavy = tmp_path / "heavy.onnx"
    heavy.write_bytes(net.read_bytes())
    heavy.with_name("heavy.onnx.json").write_text(
        json.dumps(
            {
                "sha256": sha256_of(heavy),
                "size_bytes": heavy.stat().st_size,
                "classes": ["x" * 100] * 3000,
            }
        )
    )
    small = script(tmp_path / "small", f'ulimit -f 200; exec {sys.executable} "$@"')
    sentence = refused(sshd.board(python=small), heavy)
    assert "the disk there: File too large" in sentence
    assert sshd.settled() == []
    assert [*sshd.store.glob("*.part")] == []


@pytest.mark.usefixtures("answering")
def test_a_disk_without_a_byte_left_is_a_sentence(
    sshd: Sshd, tmp_path: Path, net: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if (
        os.geteuid()
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        on = script(
            tmp_path / "on",
            f'export EDGEPRESS_CACHE={disk}\nexec {sys.executable} "$@"',
        )
        (disk / "filler").write_bytes(b"\0" * 12_288)
        assert "make room there" in refused(sshd.board(python=on), net)
        assert sshd.settled() == []
        assert [*disk.rglob("*.part"), *disk.rglob("run-*")] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_program_that_hangs_is_ended_there_with_its_children(
    sshd: Sshd, net: Path, acting: Callable[[str], None], tmp_path: Path
) -> None:
    acting(HANGS.replace("BEGAN", repr(str(tmp_path / "began"))))
    sentence = refused(sshd.board(), net, patience=Patience(run_s=1))
    assert "was not done after 1 s; it was ended there" in sentence
    assert sshd.settled() == []


@pytest.mark.slow
def test_whoever_waits_long_says_so_and_the_far_end_ends_when_nobody_does(
    sshd: Sshd,
    net: Path,
    acting: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that went to sleep keeps its connection open, and says nothing."""
    impatient = tmp_path / "agent.py"
    source = wire.AGENT.read_text()
    impatient.write_text(source.replace("_SILENCE_S = 60.0", "_SILENCE_S = 0.8"))
    monkeypatch.setattr(wire, "AGENT", impatient)
    acting("import time; time.sleep(1.5)")
    monkeypatch.setattr(wire, "_PING_S", 0.2)
    assert "not readable as JSON" in refused(sshd.board(), net, kind=InputRejectedError)
    monkeypatch.setattr(wire, "_PING_S", 60.0)
    assert "ended with 1 while measuring" in refused(sshd.board(), net)
    assert sshd.settled() == []


def hanging(
    sshd: Sshd, net: Path, acting: Callable[[str], None], began: Path
) -> threading.Thread:
    """A visit in which the board measures for ever, begun."""
    acting(HANGS.replace("BEGAN", repr(str(began))))
    device = SshDevice(sshd.board(name="pi5"))

    def measure() -> None:
        with pytest.raises(DeviceError):
            device.measure([net], QUICK, Heard())

    thread = threading.Thread(target=measure)
    thread.start()
    deadline = time.monotonic() + 20
    while not began.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return thread


@pytest.mark.slow
def test_a_second_run_at_the_same_time_is_turned_away(
    sshd: Sshd,
    net: Path,
    acting: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """And when the first one's connection is cut, the board is free again."""
    first = hanging(sshd, net, acting, tmp_path / "began")
    try:
        with pytest.raises(DeviceError, match="pi5: is busy with another run"):
            SshDevice(sshd.board()).measure([net], QUICK, Heard())
    finally:
        wire.hang_up()
        first.join()
    assert sshd.settled() == []


@pytest.mark.slow
def test_a_far_end_that_is_killed_is_a_sentence_and_swept_by_the_next_visit(
    sshd: Sshd, net: Path, acting: Callable[[str], None], tmp_path: Path
) -> None:
    thread = hanging(sshd, net, acting, tmp_path / "began")
    for sign in ("-I -c import sys", ""):  # the far end, then what it had started
        for line in sshd.left():
            number, _, words = line.partition(": ")
            if number.isdigit() and sign in words:
                os.kill(int(number), signal.SIGKILL)
    thread.join()
    assert [*sshd.store.glob("run-*")]
    SshDevice(sshd.board()).looked()
    assert sshd.settled() == []


@pytest.mark.slow
@pytest.mark.usefixtures("answering")
def test_a_wire_that_breaks_anywhere_is_a_sentence_and_leaves_nothing(
    sshd: Sshd, net: Path
) -> None:
    """In the greeting of ssh, its keys, ours, the copies, the run, and the answer."""
    shutil.rmtree(sshd.store, ignore_errors=True)
    with proxy(sshd.port) as link:
        SshDevice(sshd.board(port=link.port), HASTY).measure([net], QUICK, Heard())
        whole = link.passed
    steps, broken = 9, set()
    for step in range(steps):
        shutil.rmtree(sshd.store, ignore_errors=True)
        with proxy(sshd.port, most=whole * step // steps) as link:
            sentence = refused(sshd.board(port=link.port), net)
        assert "connection was lost while " in sentence, sentence
        broken.add(
            sentence.partition(" while ")[2].partition(" (")[0].partition(";")[0]
        )
        assert sshd.settled() == []
    assert {"connecting", "measuring"} < broken


@pytest.mark.slow
@pytest.mark.usefixtures("answering")
def test_a_wire_that_stalls_is_given_up_in_time(sshd: Sshd, net: Path) -> None:
    patience = Patience(connect_s=1, answer_s=1, run_s=1)
    for most in (0, 6_000):
        started = time.monotonic()
        with proxy(sshd.port, most=most, then="stall") as link:
            refused(sshd.board(port=link.port), net, patience=patience)
        assert time.monotonic() - started < 8
        assert sshd.settled() == []


@pytest.mark.slow
@pytest.mark.usefixtures("answering")
def test_a_copy_goes_on_where_it_was_broken_and_spoiled_bytes_are_sent_again(
    sshd: Sshd, net: Path, tmp_path: Path
) -> None:
    """The store holds the first half, once as it was sent, once with other bytes."""
    for number, spoiled in enumerate((False, True)):
        file = tmp_path / f"{number}.onnx"
        shutil.copy(net, file)
        sidecar = file.with_name(f"{file.name}.json")
        content = json.dumps(
            {
                "sha256": sha256_of(file),
                "size_bytes": file.stat().st_size,
                "versions": {str(number): "x" * 600_000},
            }
        ).encode()
        sidecar.write_bytes(content)
        half = len(content) // 2
        part = sshd.store / f"{sha256_of(sidecar)}.part"
        part.write_bytes(b"\0" * half if spoiled else content[:half])
        heard = Heard()
        with proxy(sshd.port) as link:
            board = sshd.board(port=link.port)
            SshDevice(board, HASTY).measure([file], QUICK, heard)
        assert any("of it there already" in each for each in heard.sentences)
        assert (link.passed < len(content)) is not spoiled
        assert (sshd.store / sha256_of(sidecar)).read_bytes() == content


def test_a_file_that_is_wrong_here_is_refused_before_anybody_is_called(
    sshd: Sshd, tmp_path: Path
) -> None:
    device = SshDevice(sshd.board(port=1))
    with pytest.raises(RecipeError, match="no such file"):
        device.measure([tmp_path / "missing.onnx"], QUICK, Heard())


def test_nothing_that_a_configuration_says_makes_ssh_ask_or_believe(
    sshd: Sshd,
) -> None:
    """What stands on the command line comes before any file; the host is no option."""
    board = sshd.board()
    with Path(str(board.ssh_config)).open("a") as config:
        config.write("StrictHostKeyChecking no\nBatchMode no\nForwardAgent yes\n")
    words = ssh_words(board, connect_s=3)
    done = subprocess.run(
        ["ssh", "-G", *words[1:]], capture_output=True, text=True, check=True
    )
    said = set(done.stdout.splitlines())
    assert {
        "stricthostkeychecking true",
        "batchmode yes",
        "forwardagent no",
        "clearallforwardings yes",
        "controlmaster false",
    } <= said


@pytest.mark.slow
def test_an_interrupted_command_says_so_and_leaves_nothing(
    sshd: Sshd, net: Path, tmp_path: Path
) -> None:
    """SIGTERM while the board measures: 130, and the board is as it was."""
    board = sshd.board()
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    command = [sys.executable, "-m", "compress"]
    add = ["devices", "add", "pi5", str(board.address), "--python", sys.executable]
    env = os.environ | config | {"PYTHONPATH": str(ROOT)}
    assert board.ssh_config
    subprocess.run(
        [*command, *add, "--config", board.ssh_config],
        check=True,
        env=env,
        capture_output=True,
    )
    words = ["profile", str(net), "--device", "pi5", "--seconds", "60"]
    with subprocess.Popen(
        [*command, *words], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "measuring" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=20) == 130
    assert rest.startswith("compress: interrupted")
    assert sshd.settled() == []
