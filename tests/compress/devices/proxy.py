"""A wire between ssh and sshd that breaks when it is told to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

HOST = "127.0.0.1"


@dataclass
class Proxy:
    """Passes `most` bytes on, both ways together; then it `then` cuts or stalls."""

    to: int
    most: int | None = None
    then: Literal["cut", "stall"] = "cut"
    port: int = 0
    passed: int = 0
    sockets: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, door: socket.socket) -> None:
        """Take connections until the door is closed."""
        with suppress(OSError):
            while True:
                here, _ = door.accept()
                there = socket.create_connection((HOST, self.to))
                self.sockets += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on what comes, as long as it may."""
        with suppress(OSError):
            while content := source.recv(4096):
                with self.lock:
                    left = len(content)
                    if self.most is not None:
                        left = min(left, self.most - self.passed)
                    self.passed += max(0, left)
                if left > 0:
                    sink.sendall(content[:left])
                if left < len(content):
                    if self.then == "cut":
                        break
                    continue  # a stalled wire takes everything and gives nothing
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(
    to: int, *, most: int | None = None, then: Literal["cut", "stall"] = "cut"
) -> Iterator[Proxy]:
    """A proxy to port `to` within the block."""
    with socket.socket() as door:
        door.bind((HOST, 0))
        door.listen()
        found = Proxy(to=to, most=most, then=then, port=door.getsockname()[1])
        threading.Thread(target=found.serve, args=(door,), daemon=True).start()
        try:
            yield found
        finally:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            for each in found.sockets:
                each.close()
