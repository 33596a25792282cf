"""Other programs run to their end, and as much of what they print as memory is for."""

import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Final, cast

from runtime.plain_json import LARGEST_BYTES

_CHUNK_BYTES: Final = 1 << 16
_CUT: Final = b"\n[...]\n"


def run_program(
    words: Sequence[str],
    *,
    patience_s: float,
    env: Mapping[str, str] | None = None,
    most_bytes: int = LARGEST_BYTES,
) -> subprocess.CompletedProcess[bytes]:
    """Run `words` without a shell and without input, and give what was printed.

    Of stdout and stderr that are longer than `most_bytes` each, the first and the last
    half are kept, with a mark between them that makes them longer than that. Raises
    OSError where it cannot be started, and TimeoutExpired after `patience_s`, when it
    was ended.
    """
    deadline = time.monotonic() + patience_s
    kept = _Ends(most_bytes), _Ends(most_bytes)
    with subprocess.Popen(  # noqa: S603  # an argument list, no shell
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    ) as process:
        streams = cast("tuple[IO[bytes], ...]", (process.stdout, process.stderr))
        try:
            _drain(zip(streams, kept, strict=True), deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            process.kill()
            raise
    stdout, stderr = (each.content() for each in kept)
    return subprocess.CompletedProcess(list(words), status, stdout, stderr)


class _Ends:
    """The beginning and the end of a stream."""

    def __init__(self, most_bytes: int) -> None:
        self._half = most_bytes // 2
        self._head, self._tail = bytearray(), deque[bytes]()
        self._tail_bytes, self._cut = 0, False

    def add(self, chunk: bytes) -> None:
        """Take what came next."""
        room = self._half - len(self._head)
        self._head += chunk[:room]
        self._tail.append(chunk[room:])
        self._tail_bytes += len(self._tail[-1])
        while self._tail_bytes - len(self._tail[0]) >= self._half:
            self._tail_bytes -= len(self._tail.popleft())
            self._cut = True

    def content(self) -> bytes:
        """All of it, or its two ends."""
        return bytes(self._head) + _CUT * self._cut + b"".join(self._tail)


def _drain(streams: Iterable[tuple[IO[bytes], _Ends]], deadline: float) -> None:
    """Read until all streams have ended, or the deadline comes."""
    with selectors.DefaultSelector() as unfinished:
        for stream, ends in streams:
            unfinished.register(stream, selectors.EVENT_READ, ends)
        while unfinished.get_map() and (left_s := deadline - time.monotonic()) > 0:
            for key, _ in unfinished.select(left_s):
                if chunk := os.read(key.fd, _CHUNK_BYTES):
                    key.data.add(chunk)
                else:
                    unfinished.unregister(key.fileobj)
