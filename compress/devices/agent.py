"""The far end of a device over SSH: a text that runs on the board, by its own Python.

It is sent over the connection and needs Python 3.9 and its standard library; nothing of
ours lies there yet, so it imports nothing of ours. A request is a line of JSON, some
are followed by bytes; an answer is alike. When the connection ends, in whatever way,
so does everything that was started, and the working folder goes. What stays is a store
of files by their digest, so that nothing is copied twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
_SILENCE_S = 60.0  # whoever asks says something every ten seconds while it waits
_BUSY_S = 3.0  # an end that is being tidied up takes no longer
_STORE_BYTES = 1 << 30
_KEPT_RUNTIMES = 3
_KEPT_PARTS_S = 7 * 86_400.0
# What a sentence may hold of what a program said.
_TAIL_BYTES = 1 << 14


class _RefusedError(Exception):
    """What cannot be done here, as a sentence."""


class _GoneError(Exception):
    """Nobody asks any more."""


class _Line:
    """Requests on stdin and answers on stdout, without reading ahead of `select`."""

    def __init__(self) -> None:
        self._rest = b""
        os.set_blocking(1, False)

    def request(self) -> dict[str, Any]:
        """The next line."""
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_LINE:
                raise _GoneError
            self._rest += self._more()
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def content(self, size: int) -> Iterator[bytes]:
        """The `size` bytes that follow a request."""
        while size > 0:
            chunk = self._rest[:size] if self._rest else self._more()
            self._rest = self._rest[size:] if self._rest else chunk[size:]
            yield chunk[:size]
            size -= len(chunk[:size])

    def answer(self, record: dict[str, Any], body: bytes = b"") -> None:
        """Say `record`, then `body`."""
        left = memoryview(json.dumps(record).encode() + b"\n" + body)
        while left:
            _, free, _ = select.select([], [1], [], _SILENCE_S)
            if not free:
                raise _GoneError
            try:
                left = left[os.write(1, left[:_CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise _GoneError from error

    @staticmethod
    def _more() -> bytes:
        """What came in, or the end of it all."""
        ready, _, _ = select.select([0], [], [], _SILENCE_S)
        chunk = os.read(0, _CHUNK_BYTES) if ready else b""
        if not chunk:
            raise _GoneError
        return chunk


class _Store:
    """Files by the SHA-256 of their content; one process at a time works with it."""

    def __init__(self) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        named = os.environ.get("EDGEPRESS_CACHE") or str(Path(home) / "edgepress")
        self.place = Path(named).absolute() / "board"
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _RefusedError(
                        "is busy with another run, and two at once would disturb each "
                        "other; wait for that one, then run the same command again"
                    ) from None
                time.sleep(0.1)
        for left in self.place.glob("run-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def have(self, ask: dict[str, Any]) -> dict[str, Any]:
        """How much of each file is here; all of it only if its digest holds."""
        found = {}
        for sha256, size in ask["files"].items():
            whole, part = self.place / sha256, self._part(sha256)
            if whole.is_file() and _sha256(whole) != sha256:
                whole.unlink()
            if whole.is_file():
                os.utime(whole)
                found[sha256] = size
            else:
                begun = part.stat().st_size if part.is_file() else 0
                found[sha256] = begun if begun < size else 0
        return {"have": found, "free_bytes": shutil.disk_usage(self.place).free}

    def put(self, ask: dict[str, Any], line: _Line) -> dict[str, Any]:
        """Add bytes at `offset` to a file; what does not fit takes the part with it."""
        part, trouble = self._part(ask["sha256"]), None
        # Unbuffered: what is said to be here is here.
        with open(part, "r+b" if ask["offset"] else "wb", buffering=0) as stream:  # noqa: PTH123  # of two modes
            stream.seek(ask["offset"])
            for chunk in line.content(ask["bytes"]):
                try:
                    written = 0
                    while trouble is None and written < len(chunk):
                        written += stream.write(chunk[written:]) or 0
                except OSError as error:  # noqa: PERF203  # the rest is still to be read
                    trouble = error
        if trouble is not None:
            part.unlink()
            raise trouble
        return {}

    def seal(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Take a file whose bytes are all here, if they are what was announced."""
        part = self._part(ask["sha256"])
        sound = _sha256(part) == ask["sha256"]
        part.replace(self.place / ask["sha256"]) if sound else part.unlink()
        return {"sound": sound}

    def library(self, sha256: str) -> Path:
        """The folder in which the archive of that digest is unpacked."""
        folder = self.place / f"lib-{sha256}"
        if folder.is_dir():
            os.utime(folder)
            return folder
        draft = Path(tempfile.mkdtemp(prefix="run-lib-", dir=self.place))
        try:
            with zipfile.ZipFile(self.place / sha256) as archive:
                archive.extractall(draft)  # of whoever asks, by its digest
            return draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def trim(self) -> None:
        """Let go of what was not used for the longest time."""
        with contextlib.suppress(OSError):
            for old in _newest(self.place.glob("lib-*"))[_KEPT_RUNTIMES:]:
                shutil.rmtree(old, ignore_errors=True)
            total = 0
            for file in _newest(self.place.glob("*")):
                if not file.is_file() or file.name == "lock":
                    continue
                total += file.stat().st_size
                stale = time.time() - file.stat().st_mtime > _KEPT_PARTS_S
                if total > _STORE_BYTES or (file.suffix == ".part" and stale):
                    file.unlink()

    def _part(self, sha256: str) -> Path:
        """Where a file is kept of which not all is here."""
        return self.place / f"{sha256}.part"


class _Work:
    """A folder for one run, and the program in it; both end with the connection."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._library = store.place
        self.folder: Path | None = None

    def stage(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Lay files out under their names, beside the unpacked runtime."""
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._store.place))
        self._library = self._store.library(ask["runtime"])
        (self.folder / "tmp").mkdir()
        for name, sha256 in ask["files"].items():
            place = self.folder / "files" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self._store.place / sha256, place)
            except OSError:  # a file system without links
                shutil.copyfile(self._store.place / sha256, place)
        return {"folder": str(self.folder / "files")}

    def run(self, ask: dict[str, Any], line: _Line) -> tuple[dict[str, Any], bytes]:
        """Run a program to its end, or to that of the time it has."""
        if self.folder is None:
            raise _RefusedError("nothing was laid out yet")
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        env["TMPDIR"] = str(self.folder / "tmp")
        out, err = self.folder / "stdout", self.folder / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            child = subprocess.Popen(  # noqa: S603  # what this connection is for
                ask["words"],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self._library,
                env=env,
                start_new_session=True,
            )
            try:
                in_time = _watch(child.pid, ask["limit_s"], line)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if not in_time:
            raise _RefusedError(
                f"was not done after {ask['limit_s']:.0f} s; it was ended there"
            )
        size = out.stat().st_size
        if size > ask["most_bytes"]:
            raise _RefusedError(f"answers with {size} bytes; that is no measurement")
        record = {"status": child.returncode, "stderr": _tail(err), "bytes": size}
        return record, out.read_bytes()

    def end(self) -> None:
        """Leave nothing."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _watch(pid: int, limit_s: float, line: _Line) -> bool:
    """Sleep until the program ends (True) or its time does, or nobody asks any more.

    Nothing wakes it meanwhile but a child's end and what comes in.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    deadline, heard = time.monotonic() + limit_s, time.monotonic()
    try:
        # It is left a zombie, so that nobody else can have its number.
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            now = time.monotonic()
            if now >= deadline:
                return False
            if now - heard > _SILENCE_S:
                raise _GoneError
            wait_s = min(deadline - now, _SILENCE_S)
            ready, _, _ = select.select([0, woken], [], [], wait_s)
            if 0 in ready:
                line.request()
                heard = time.monotonic()
            if woken in ready:
                os.read(woken, _CHUNK_BYTES)
        return True
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wake)


def _greeting(libraries: tuple[str, ...]) -> dict[str, Any]:
    """What this Python is, and which of `libraries` it has."""
    modules = {}
    for name in libraries:
        with contextlib.suppress(PackageNotFoundError):
            modules[name] = version(name)
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"  # PEP 668
    return {
        "python": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
        "modules": modules,
        "managed": sys.prefix == sys.base_prefix and marker.exists(),
        "venv": find_spec("ensurepip") is not None,
    }


def _newest(paths: Iterator[Path]) -> list[Path]:
    """The one used last comes first."""
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)


def _sha256(path: Path) -> str:
    """The digest of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _tail(path: Path) -> str:
    """The end of what a program said."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")


def _serve(line: _Line, store: _Store, work: _Work) -> None:
    """Answer until nobody asks."""
    while True:
        ask = line.request()
        do = ask["do"]
        if do == "have":
            line.answer(store.have(ask))
        elif do == "put":
            line.answer(store.put(ask, line))
        elif do == "seal":
            line.answer(store.seal(ask))
        elif do == "stage":
            line.answer(work.stage(ask))
        elif do == "run":
            line.answer(*work.run(ask, line))
        elif do == "bye":
            store.trim()
            return


def _leave(*_: object) -> None:
    """End as if the connection had ended."""
    raise _GoneError


def main(mark: str, *libraries: str) -> int:
    """Greet, serve, tidy up; a sentence of what went wrong is the last answer.

    `mark` comes before the greeting: what a login shell prints is none. Of `libraries`,
    distributions, it tells the versions.
    """
    ends = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    for end in ends:
        signal.signal(end, _leave)
    line, work = _Line(), None
    try:
        os.write(1, f"\n{mark}".encode())
        try:
            line.answer(_greeting(libraries))
            store = _Store()
            work = _Work(store)
            line.answer({"store": str(store.place)})
            _serve(line, store, work)
        except _RefusedError as error:
            line.answer({"refused": str(error)})
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            line.answer({"refused": f"the disk there: {error.strerror}{where}"})
    except _GoneError:
        return 1
    finally:
        for end in ends:
            signal.signal(end, signal.SIG_IGN)
        if work is not None:
            work.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
