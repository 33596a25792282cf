"""Inference on an emulated ARM core: what files answer there, and their self-tests."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from compress.devices.emulated import emulated, site
from compress.devices.remote import ChecksThere, remote_check, stdout_of
from runtime.answers import Answers, read_answers
from runtime.batch import Batch
from runtime.plan import Plan

# As pyproject.toml asks of this processor.
WHEELS: Final = ("numpy>=1.26", "onnxruntime>=1.30", "ai-edge-litert>=1.4")
# Where `runtime` lies, which answers there.
_OURS: Final = Path(__file__).resolve().parents[2]
# Importing two interpreters takes ten seconds, a MobileNetV2 at 224 px two an image.
_PATIENCE_S: Final = 900.0


def arm_answers(
    files: Sequence[Path],
    images: Batch,
    *,
    cpu: str,
    wheels: Sequence[str] = WHEELS,
) -> Answers:
    """What `files` answer on `cpu` to `images`, float32 [n, 3, height, width].

    Raises what `emulated` raises, and as errors of their kinds what went wrong there.
    """
    with TemporaryDirectory() as folder:
        asked = Path(folder) / "images.npy"
        np.save(asked, images)
        words = ["-m", "runtime.answers", str(asked), *map(str, files)]
        done = _python(words, cpu=cpu, wheels=wheels)
    source = f"emulated {cpu}"
    return read_answers(stdout_of(done, device=source), source=source)


def arm_checks(
    files: Sequence[Path], *, cpu: str, wheels: Sequence[str] = WHEELS
) -> ChecksThere:
    """How the self-tests of `files` end on `cpu`."""
    return remote_check(
        lambda words: _python(words, cpu=cpu, wheels=wheels),
        (),
        [str(each) for each in files],
        Plan(),
        device=f"emulated {cpu}",
    )


def _python(
    words: Sequence[str], *, cpu: str, wheels: Sequence[str]
) -> subprocess.CompletedProcess[bytes]:
    """Our runtime beside these wheels, on that core, one thread."""
    packages = site(wheels)
    return emulated(
        words,
        cpu=cpu,
        packages=packages,
        patience_s=_PATIENCE_S,
        environment={
            "PYTHONPATH": os.pathsep.join((str(packages), str(_OURS))),
            "OMP_NUM_THREADS": "1",
        },
    )
