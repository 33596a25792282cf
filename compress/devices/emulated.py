"""Another processor, emulated by QEMU in user mode: its answers, never its times.

What runs there is unpacked into a folder by `docker/arm/make-root`: QEMU, a root file
system with Python, the interpreters' wheels. No rights, no engine, no container.
"""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from compress.devices.remote import stdout_of
from runtime.answers import Answers, read_answers
from runtime.batch import Batch
from runtime.errors import DeviceError

# Where `runtime` lies, which is what runs there.
_OURS: Final = Path(__file__).resolve().parents[2]
# Importing two interpreters takes ten seconds, a MobileNetV2 at 224 px two an image.
PATIENCE_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Emulated:
    """An arm64 processor such as `cortex-a72`, on whatever machine this is.

    folder: what `make-root` made; site: other wheels than those in it; environment:
    of the program that runs there, besides what all of them get.
    """

    cpu: str
    folder: Path
    site: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return f"emulated {self.cpu}"

    def words(self) -> list[str]:
        """The command that starts Python there."""
        root = self.folder / "root"
        qemu = self.folder / "qemu/usr/bin/qemu-aarch64"
        python = root / "usr/bin/python3"
        for needed in (qemu, python):
            if not needed.exists():
                raise DeviceError(
                    f"{self.name}: {needed} is not there; "
                    f"run: docker/arm/make-root {self.folder}"
                )
        return [str(qemu), "-cpu", self.cpu, "-L", str(root), str(python)]

    def start(
        self, words: Sequence[str], *, patience_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Run Python there with `words`; a program that hangs is a DeviceError."""
        site = self.site or self.folder / "site"
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join((str(site), str(_OURS))),
            **self.environment,
        }
        try:
            return subprocess.run(  # noqa: S603  # an argument list, no shell
                [*self.words(), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=patience_s,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{self.name}: no answer within {patience_s:.0f} s; the machine may be "
                "busy, or a program there hangs"
            ) from error

    def answers(self, files: Sequence[Path], images: Batch) -> Answers:
        """What `files` answer there to `images`, float32 [n, 3, height, width]."""
        with tempfile.TemporaryDirectory() as folder:
            asked = Path(folder) / "images.npy"
            np.save(asked, images)
            words = ["-m", "runtime.answers", str(asked), *map(str, files)]
            done = self.start(words)
        return read_answers(stdout_of(done, device=self.name), source=self.name)
