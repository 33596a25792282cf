"""A board for tests: a real sshd on loopback, with keys and a cache of its own."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.devices.address import Address
from compress.devices.inventory import Board

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Sshd:
    """A running server: its port, its folder, and what stays on the board."""

    port: int
    folder: Path
    pid: int

    @property
    def store(self) -> Path:
        """Where the board keeps what it was given."""
        return self.folder / "cache" / "edgepress" / "board"

    def board(
        self,
        *,
        python: str = sys.executable,
        key: str = "key",
        known: str = "known",
        port: int | None = None,
        name: str = "pi5",
    ) -> Board:
        """The board as the inventory has it."""
        config = self.folder / f"config-{key}-{known}"
        config.write_text(
            f"IdentityFile {self.folder / key}\n"
            "IdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder / known}\n"
            "GlobalKnownHostsFile /dev/null\n"
            "HostKeyAlias board\n"
        )
        address = Address(host=HOST, user=getpass.getuser(), port=port or self.port)
        return Board(name=name, address=address, python=python, ssh_config=str(config))

    def left(self) -> list[str]:
        """What of a visit is still there: folders of runs, and processes."""
        folders = [path.name for path in self.store.glob("run-*")]
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environ = (process / "environ").read_bytes()
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if f"BOARD_OF_TESTS={self.folder}".encode() in environ:
                found.append(f"{process.name}: {words[:80]!r}")
        return folders + found

    def settled(self) -> list[str]:
        """What is left once it had a moment to end."""
        deadline = time.monotonic() + 8
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def key(path: Path) -> str:
    """Make a key; give its public half."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True, timeout=30)
    return path.with_suffix(".pub").read_text()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        number: int = taken.getsockname()[1]
        return number


@contextmanager
def serving(folder: Path) -> Iterator[Sshd]:
    """Run the server within the block; the test skips where there is none."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("sshd is not here: tests/install-system-packages installs it")
    public, host = key(folder / "key"), key(folder / "host")
    other_host = key(folder / "other-host")
    key(folder / "stranger")
    (folder / "authorized").write_text(public)
    (folder / "known").write_text(f"board {host}")
    (folder / "changed").write_text(f"board {other_host}")
    (folder / "unknown").write_text("")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {HOST}\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nMaxStartups 100\n"
        f"SetEnv XDG_CACHE_HOME={folder / 'cache'} BOARD_OF_TESTS={folder} "
        "OMP_NUM_THREADS=1\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    words = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    break
            time.sleep(0.02)
        else:
            pytest.skip(f"sshd does not start: {(folder / 'log').read_text()[-200:]}")
        yield Sshd(port=port, folder=folder, pid=server.pid)
    finally:
        server.terminate()
        server.wait(timeout=10)


def linear_net(
    path: Path, *, weight: float = 1.0, facts: Mapping[str, object] | None = None
) -> Path:
    """A linear ONNX file for [1, 3, 8, 8]."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.full((192, 4), weight, np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    for key, value in (facts or {}).items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, path)
    return path
