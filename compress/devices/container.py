"""A container as a device: `docker:arm64` and `docker:jetson`, on this machine.

Where the processor is of that kind, files are measured natively. Elsewhere QEMU runs
the image's programs: latencies are refused there, and whether each file answers as it
does here is told instead. `docker:arm64:cortex-a72` names the core that QEMU emulates.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from compress.devices.emulated import CORES
from compress.devices.engine import Engine, Image, engine
from compress.devices.remote import (
    ChecksThere,
    Start,
    as_ours,
    remote_check,
    remote_machine,
    remote_profile,
    self_tested,
    stdout_of,
    time_limit_s,
)
from compress.stand_in import stand_in
from runtime.answers import Answers, answers_of, read_answers
from runtime.artifact import Artifact
from runtime.batch import Batch
from runtime.errors import DeviceError, ParityError
from runtime.machine import Machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice

IMAGES: Final[dict[str, Image]] = {
    "arm64": Image(
        name="edgepress-arm64",
        dockerfile="device-arm64.Dockerfile",
        platform="linux/arm64",
    ),
    "jetson": Image(
        name="edgepress-jetson",
        dockerfile="device-jetson.Dockerfile",
        platform="linux/arm64",
        # Engines are built at first use, for minutes, and kept.
        options=("--volume", "edgepress-engines:/cache"),
        gpu="nvidia",
        runtime="trtexec",
    ),
}
# The words that start Python are the entry point's, in every image of ours.
_PYTHON: Final = ()
# To start, to import two interpreters, and to load a file; emulated, on a busy machine.
_PATIENCE_S: Final = 600.0
_ASKED: Final = 2  # images of noise that both sides answer
# Of the largest score: a step of INT8 here and there, and far more than another order
# of float sums.
_UNLIKE: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class ContainerDevice:
    """An image on this machine's engine; cpu: the core that QEMU is to emulate."""

    kind: str
    cpu: str | None = None

    @property
    def name(self) -> str:
        """As the user calls it."""
        return ":".join(("docker", self.kind, *filter(None, [self.cpu])))

    def machine(self) -> Machine:
        """Look around in the container."""
        with TemporaryDirectory() as folder:
            start = self._start(engine(), Path(folder), _PATIENCE_S)
            return remote_machine(start, _PYTHON, device=self.name)

    def measure(self, files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
        """Run self-tests, then measure; emulated, hold answers against this machine's.

        A file whose self-test fails there is a ParityError, and nothing is measured.
        """
        artifacts, plan = [Artifact.read(path) for path in files], self._plan(plan)
        with self._inside(artifacts, plan, screen) as there:
            self_tested(
                there.start,
                _PYTHON,
                artifacts,
                there.files,
                plan,
                device=self.name,
                screen=screen,
            )
            screen.tell(f"{self.name}: running {', '.join(map(str, files))}")
            profile = remote_profile(
                there.start, _PYTHON, there.files, plan, device=self.name
            )
            emulated = [each.kind == "emulated" for each in profile.measurements]
            if self.cpu is not None and not all(emulated):
                raise DeviceError(
                    f"{self.name}: this machine runs arm64 programs itself, on its own "
                    f"core, not on {self.cpu}; leave the core out"
                )
            if all(emulated):
                for sentence in self._answers(there, artifacts):
                    screen.tell(sentence)
        return as_ours(profile, artifacts, device=self.name)

    def check(self, files: Sequence[Path], plan: Plan, screen: Voice) -> ChecksThere:
        """Run the self-tests there."""
        artifacts, plan = [Artifact.read(path) for path in files], self._plan(plan)
        with self._inside(artifacts, plan, screen) as there:
            return remote_check(
                there.start, _PYTHON, there.files, plan, device=self.name
            )

    def _plan(self, plan: Plan) -> Plan:
        """The plan with the runtime that the image has, unless one was asked for."""
        return replace(plan, runtime=plan.runtime or IMAGES[self.kind].runtime)

    @contextmanager
    def _inside(
        self, artifacts: Sequence[Artifact], plan: Plan, screen: Voice
    ) -> Iterator["_There"]:
        """Have the image and the files within the block."""
        found = engine()
        patience_s = _PATIENCE_S + time_limit_s(plan, len(artifacts))
        with _copied(artifacts) as (folder, inside):
            screen.tell(f"{self.name}: building the image, or taking the one there")
            start = self._start(found, folder, patience_s)
            yield _There(start=start, folder=folder, files=inside)

    def _start(self, found: Engine, folder: Path, patience_s: float) -> Start:
        """What runs words in a container that sees `folder`."""
        image = IMAGES[self.kind]
        tag = found.build(image)
        environment = [f"QEMU_CPU={self.cpu}"] if self.cpu else []
        return lambda words: found.run(
            image,
            tag,
            words,
            models=folder,
            environment=environment,
            patience_s=patience_s,
        )

    def _answers(self, there: "_There", artifacts: Sequence[Artifact]) -> Iterator[str]:
        """How each file answers noise there and here, a sentence each."""
        rng = np.random.default_rng(0)
        for artifact, path in zip(artifacts, there.files, strict=True):
            if artifact.preprocess is None:
                yield f"{artifact.path.name}: says nothing of its input; not compared"
                continue
            size = artifact.preprocess.size
            images = rng.standard_normal((_ASKED, 3, size, size)).astype(np.float32)
            np.save(there.folder / "images.npy", images)
            done = there.start(["-m", "runtime.answers", "/models/images.npy", path])
            given = read_answers(stdout_of(done, device=self.name), source=self.name)
            with TemporaryDirectory() as scratch:
                equal = stand_in(artifact, Path(scratch))
                here = answers_of([equal.path], images)
            yield _compared(artifact.path.name, here, given)


@dataclass(frozen=True, kw_only=True)
class _There:
    """What starts Python in a container, and the files as they are called in it."""

    start: Start
    folder: Path  # of this machine, /models there
    files: list[str]


def open_device(rest: str) -> ContainerDevice:
    """The device `docker:REST`; DeviceError for an image that is not known."""
    kind, _, cpu = rest.partition(":")
    if kind not in IMAGES:
        raise DeviceError(
            f"--device docker:{rest}: not known; known: "
            f"{', '.join(f'docker:{each}' for each in sorted(IMAGES))}"
        )
    if cpu and cpu not in CORES:
        raise DeviceError(
            f"--device docker:{rest}: core {cpu!r} is not known; known: "
            f"{', '.join(CORES)}"
        )
    return ContainerDevice(kind=kind, cpu=cpu or None)


@contextmanager
def _copied(artifacts: Sequence[Artifact]) -> Iterator[tuple[Path, list[str]]]:
    """A folder with copies of the files and their twins, and their names inside.

    Any user may read it: the one in the container is none of this machine's.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        inside = []
        for index, artifact in enumerate(artifacts):
            place = folder / str(index)
            place.mkdir()
            for path in (artifact.path, artifact.twin):
                if path.exists():
                    shutil.copyfile(path, place / path.name)
            inside.append(f"/models/{index}/{artifact.path.name}")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder, inside


def _compared(name: str, here: Answers, there: Answers) -> str:
    """How alike two machines answer; a ParityError if they do not."""
    want, have = _only(here), _only(there)
    if want.shape != have.shape:
        raise ParityError(
            f"{name}: answers of another shape there, {list(have.shape)}, than here, "
            f"{list(want.shape)}"
        )
    error = np.abs(want - have).max() / max(float(np.abs(want).max()), 1e-30)
    if not error <= _UNLIKE:
        raise ParityError(
            f"{name}: answers there are off by {error:.1e} of the largest score here; "
            f"allowed: {_UNLIKE:g}"
        )
    exact = bool((want == have).all())
    far = "to the bit" if exact else f"but for {error:.1e} of the largest score"
    return (
        f"{name}: answers there ({there.machine.cpu}, emulated) as here "
        f"({here.machine.cpu}), {far}; {len(want)} images of noise"
    )


def _only(answers: Answers) -> Batch:
    """The scores of the one file that was asked."""
    (found,) = answers.scores.values()
    return found
