"""The near end of a connection to a board: requests, answers, and limits of time.

`ssh` is one process; the program at its far end, `compress.devices.agent`, is sent to
it. Whatever hangs, here, there or between, is ended when its time is over.
"""

import contextlib
import json
import os
import secrets
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, cast

from runtime.backends.table import distributions
from runtime.errors import InputRejectedError
from runtime.plain_json import LARGEST_BYTES, json_record

AGENT: Final = Path(__file__).with_name("agent.py")
# What our runtime needs; older ones say so before they read a line of ours.
OLDEST_PYTHON: Final = (3, 10)
TOO_OLD: Final = "edgepress needs another Python than"
_LONGEST_LINE: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 16
_LOGIN_BYTES: Final = 1 << 16  # that a shell may print before
_TAIL_BYTES: Final = 1 << 14
_PING_S: Final = 10.0
_TICK_S: Final = 0.2
_LEAVE_S: Final = 5.0  # that the far end has to tidy up


# The connections of this process, so that whoever leaves can end those of its threads.
_OPEN: Final["set[Wire]"] = set()


def hang_up() -> None:
    """End every connection; whoever waits for an answer is told that it is lost."""
    for wire in tuple(_OPEN):
        wire.kill()


class LostError(Exception):
    """The connection ended, or never was.

    late: it took too long, and was ended here; status: of ssh; said: on stderr.
    """

    def __init__(self, *, late: bool, status: int, said: str) -> None:
        """How it ended."""
        super().__init__(late, status, said)
        self.late, self.status, self.said = late, status, said


class RefusedError(Exception):
    """What the far end cannot do, as the end of a sentence."""


def far_command(python: str, mark: str, source: bytes) -> str:
    """What the shell of the board is to run; it reads `source` from stdin first.

    In quotes that every shell takes alike, without what csh would replace in them.
    """
    least = ",".join(map(str, OLDEST_PYTHON))
    code = (
        "import sys;v=sys.version_info[:2];"
        f"v>=({least}) or sys.exit('{TOO_OLD} %d.%d'%v);"
        f"s=sys.stdin.buffer.read({len(source)});"
        f"len(s)=={len(source)} and exec(s)"
    )
    # `exec`: no shell waits beside it. `-I`: no file of the home is imported.
    libraries = ("numpy", *distributions())
    return f"exec {shlex.join([python, '-I', '-c', code, mark, *libraries])}"


class Wire:
    """One connection; `ask` is answered by the far end, in turn."""

    def __init__(self, words: Sequence[str], python: str, *, patience_s: float) -> None:
        """Start `words`, the command line of ssh but for what it is to run there.

        An OSError if there is no ssh.
        """
        source, self._mark = AGENT.read_bytes(), secrets.token_hex(16)
        self._late, self._waiting, self._said = False, False, b""
        self._come = bytearray()
        self._sending, self._over = threading.Lock(), threading.Event()
        self._deadline = time.monotonic() + patience_s
        self._ssh = subprocess.Popen(  # noqa: S603  # ssh; no shell on this side
            [*words, far_command(python, self._mark, source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # no terminal that it could ask on
        )
        streams = self._ssh.stdin, self._ssh.stdout, self._ssh.stderr
        self._in, self._out, self._err = cast("tuple[IO[bytes], ...]", streams)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        _OPEN.add(self)
        self._send(source)

    def greeting(self) -> dict[str, object]:
        """What the far end says of itself, after whatever its login printed."""
        mark = self._mark.encode()
        while mark not in self._come:
            if len(self._come) > _LOGIN_BYTES:
                raise self._lost()
            self._more()
        self._come = self._come.partition(mark)[2]
        return self._answer()

    def opened(self) -> dict[str, object]:
        """What the far end says once it has its store to itself."""
        return self._answer()

    def ask(
        self, request: Mapping[str, object], content: bytes = b"", *, patience_s: float
    ) -> dict[str, object]:
        """Send a request and the bytes that belong to it; give the answer.

        Raises RefusedError if the far end cannot, LostError if it is gone.
        """
        self._deadline = time.monotonic() + patience_s
        self._send(json.dumps(request).encode() + b"\n" + content)
        return self._answer()

    def wait(
        self, request: Mapping[str, object], *, patience_s: float
    ) -> tuple[dict[str, object], bytes]:
        """Ask for what takes long, and let the far end know that somebody waits.

        Gives the answer, and the bytes that follow it.
        """
        self._waiting = True
        try:
            record = self.ask(request, patience_s=patience_s)
        finally:
            self._waiting = False
        size = record.get("bytes")
        if type(size) is not int or not 0 <= size <= LARGEST_BYTES:
            raise RefusedError("answers in a way that is not ours")
        while len(self._come) < size:
            self._more()
        body, self._come = self._come[:size], self._come[size:]
        return record, bytes(body)

    def close(self) -> None:
        """End the connection, and with it everything that was started there."""
        self._send(b'{"do": "bye"}\n')
        with contextlib.suppress(OSError):
            self._in.close()
        self._ended()
        _OPEN.discard(self)
        self._out.close()
        self._err.close()

    def kill(self) -> None:
        """End ssh, and whatever it started here, at once."""
        if self._ssh.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._ssh.pid, signal.SIGKILL)

    def _answer(self) -> dict[str, object]:
        """The next line of the far end."""
        while b"\n" not in self._come:
            if len(self._come) > _LONGEST_LINE:
                raise self._lost()
            self._more()
        line, _, self._come = self._come.partition(b"\n")
        try:
            record = json_record(bytes(line), source="the far end")
        except InputRejectedError as error:
            raise RefusedError("answers in a way that is not ours") from error
        refused = record.get("refused")
        if refused is not None:
            raise RefusedError(str(refused))
        return record

    def _more(self) -> None:
        """Take what comes next, while there is time.

        What ssh started may live on and hold its stdout open: its end is none of that.
        """
        handle = self._out.fileno()
        while not select.select([handle], [], [], _TICK_S)[0]:
            late = time.monotonic() > self._deadline + _TICK_S
            if late:
                self._late = True
                self.kill()
            if late or self._ssh.poll() is not None:
                raise self._lost()
        chunk = os.read(handle, _CHUNK_BYTES)
        if not chunk:
            raise self._lost()
        self._come += chunk

    def _send(self, content: bytes) -> None:
        """Write; that nobody reads any more is told where an answer is waited for."""
        with contextlib.suppress(OSError, ValueError), self._sending:
            self._in.write(content)
            self._in.flush()

    def _lost(self) -> LostError:
        """Why nothing comes any more."""
        status = self._ended()
        said = self._said.decode("utf-8", "replace")
        return LostError(late=self._late, status=status, said=said)

    def _ended(self) -> int:
        """Wait for ssh, which the watcher ends in time."""
        self._deadline = min(self._deadline, time.monotonic() + _LEAVE_S)
        status = self._ssh.wait()
        self._over.set()
        self._watcher.join()
        return status

    def _watch(self) -> None:
        """Keep what ssh says, end it when its time is over, and say that we wait."""
        handles, pinged = [self._err.fileno()], time.monotonic()
        while True:
            ready = handles and select.select(handles, [], [], _TICK_S)[0]
            if not ready and self._over.wait(0 if handles else _TICK_S):
                return  # a helper of ssh that lives on may keep stderr open
            if ready:
                said = os.read(handles[0], _TAIL_BYTES)
                self._said = (self._said + said)[-_TAIL_BYTES:]
                handles = handles if said else []
            now = time.monotonic()
            if now > self._deadline and self._ssh.poll() is None:
                self._late = True
                self.kill()
            if self._waiting and now - pinged > _PING_S:
                self._send(b'{"do": "ping"}\n')
                pinged = now
