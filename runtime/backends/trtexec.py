"""ONNX files on NVIDIA GPUs, by TensorRT's own program: built, timed, layer by layer.

trtexec is on every Jetson with JetPack and needs no Python of its own. It times a file
and gives no answers, so it is no Session: it measures by itself. An engine is of one
GPU and one version of TensorRT and is kept in the cache under both.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np

from runtime.artifact import Artifact
from runtime.backends.table import backend_for
from runtime.backends.trtexec_files import read_layers, read_times
from runtime.backends.trtexec_words import JETPACK, PROGRAM, WHO, Dialect, located
from runtime.bootstrap import percentile
from runtime.clocks import Conditions, state
from runtime.disturbance import watch
from runtime.errors import DeviceError, MissingDependencyError, RecipeError
from runtime.files import digest_of, own_cache_folder, read_bytes
from runtime.layer_times import LayerTime
from runtime.machine import this_machine
from runtime.measurement import Measurement
from runtime.plan import Plan
from runtime.printable import printable
from runtime.profiled import Profile
from runtime.programs import run_program
from runtime.throttling import flags
from runtime.timing import steady_from

if TYPE_CHECKING:
    from runtime.profiling import Voice

_BANNER: Final = re.compile(r"TensorRT v(\d{4,6})\b")
_DEVICE: Final = re.compile(r"Selected Device: (.{1,100})")
_LOADED: Final = re.compile(r"[Dd]eserialized in ([0-9.]{1,12}) sec")
# Of a build on an Orin Nano, which tries thousands of kernels; of the rest.
_BUILD_S: Final = 3600
_RUN_S: Final = 900
_PROBE_S: Final = 60
_LARGEST_BYTES: Final = 1 << 25  # of what it writes
_SAYS_BYTES: Final = 1 << 20  # who it is comes first, what went wrong last
_LONGEST: Final = 300  # of a sentence from elsewhere


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What trtexec found of a file; samples_ns in order."""

    runtime: str
    load_ms: float
    samples_ns: tuple[int, ...]


@dataclass(frozen=True)
class Trtexec:
    """trtexec as it is on this machine: its program, its dialect, its GPU."""

    program: str
    dialect: Dialect
    gpu: str

    @property
    def name(self) -> str:
        """The program, by the version of its TensorRT."""
        return f"{PROGRAM} {'.'.join(map(str, self.dialect.version))}"

    def engine(self, artifact: Artifact) -> Path:
        """The engine of a file, built once for this GPU, this version and this file.

        A file that TensorRT refuses is a DeviceError with what it said.
        """
        kept = self._place(artifact)
        if kept.is_file():
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            draft = Path(folder) / "engine"
            self._run(self.dialect.build(artifact, draft), artifact, within_s=_BUILD_S)
            if not draft.is_file():
                raise DeviceError(f"{artifact.path}: {PROGRAM} built no engine")
            draft.replace(kept)
        return kept

    def timed(self, artifact: Artifact, *, runs: int, seconds: float | None) -> Timed:
        """Time a file's engine, nothing copied between inferences."""
        engine = self.engine(artifact)
        with tempfile.TemporaryDirectory() as folder:
            times = Path(folder) / "times.json"
            words = self.dialect.time(engine, times, runs=runs, seconds=seconds)
            within_s = _RUN_S + 2 * (seconds or 0)
            said = self._run(words, artifact, within_s=within_s)
            loaded = _LOADED.search(said)
            source = f"{artifact.path}: {PROGRAM}"
            return Timed(
                runtime=self.name,
                load_ms=_seconds(loaded[1]) * 1e3 if loaded else 0.0,
                samples_ns=read_times(_written(times, artifact), source=source),
            )

    def layers(self, artifact: Artifact) -> tuple[LayerTime, ...]:
        """The time of every layer of a file's engine, in a run of its own."""
        engine = self.engine(artifact)
        with tempfile.TemporaryDirectory() as folder:
            profile, layers = (
                Path(folder) / "profile.json",
                Path(folder) / "layers.json",
            )
            words = self.dialect.profile(engine, profile, layers)
            self._run(words, artifact, within_s=_RUN_S)
            return read_layers(
                _written(profile, artifact),
                _written(layers, artifact),
                source=f"{artifact.path}: {PROGRAM}",
            )

    def _place(self, artifact: Artifact) -> Path:
        """Where the engine of a file is kept; flags of its build are in its name."""
        flags = self.dialect.build(artifact, Path())[2:]
        digest = digest_of(self.gpu, self.name, artifact.sha256, flags)
        return own_cache_folder() / "engines" / f"{digest[:32]}.engine"

    def _run(self, words: Sequence[str], artifact: Artifact, *, within_s: float) -> str:
        """Run trtexec on a file; what it said. A failure is a DeviceError."""
        status, said = _started([self.program, *words], within_s=within_s)
        if status:
            raise DeviceError(
                f"{artifact.path}: {self.name} fails with {status}: {_complaint(said)}"
            )
        return said


def opened(where: Path | str) -> Trtexec:
    """Find trtexec and ask it who it is, for the file at `where`.

    MissingDependencyError if it is not there, DeviceError if it does not say.
    """
    program = located()
    if program is None:
        raise MissingDependencyError(
            f"{where}: needs {PROGRAM}, which is neither on the path nor in "
            f"{JETPACK}; it comes with JetPack: run: apt-get install "
            "libnvinfer-bin, or use the image of docker/device-jetson.Dockerfile"
        )
    _, said = _started([program, WHO], within_s=_PROBE_S)
    banner, device = _BANNER.search(said), _DEVICE.search(said)
    if banner is None:
        raise DeviceError(
            f"{program}: does not say which TensorRT it is: {_complaint(said)}"
        )
    gpu = printable(device[1].strip()) if device else "unknown GPU"
    return Trtexec(program, Dialect(_version(banner[1])), gpu)


def interpreter(where: Path | str, *, variant: str = "") -> str:
    """Ask trtexec for its version, for the file at `where`."""
    del variant
    return opened(where).name


def session(artifact: Artifact, *, threads: int, variant: str = "") -> NoReturn:
    """Refuse: trtexec times a file and gives no answers."""
    del threads, variant
    raise RecipeError(
        f"--runtime {PROGRAM}: times {artifact.path.name} and gives no answers; ask "
        "another runtime for them"
    )


def profile(artifacts: Mapping[str, Artifact], plan: Plan, screen: "Voice") -> Profile:
    """Time each file, then each of its layers in a run of its own."""
    asked = {
        "--compare": plan.compare,
        "--mode certified or --sustained": plan.long,
        "--energy": plan.energy is not None,
        "--roofline": plan.roofline,
    }
    for flag, wanted in asked.items():
        if wanted:
            raise RecipeError(
                f"--runtime {PROGRAM}: times each file by itself and nothing else; "
                f"leave out {flag}"
            )
    found = []
    for name, artifact in artifacts.items():
        backend_for(artifact, PROGRAM)
        there = opened(artifact.path)
        screen.tell(f"{name}: {there.name} on {there.gpu}; an engine is built once")
        found.append(_measured(there, name, artifact, plan))
    return Profile(measurements=tuple(found), forced=plan.force)


def _measured(there: Trtexec, name: str, artifact: Artifact, plan: Plan) -> Measurement:
    """What trtexec says of a file, as a Measurement."""
    there.engine(artifact)  # building it warms the chip, so not between the two looks
    before, so_far = state(held_back=flags().now), watch()
    timed = there.timed(artifact, runs=plan.runs, seconds=plan.seconds)
    disturbance, after = so_far(), state(held_back=flags().now)
    samples = np.asarray(timed.samples_ns, np.float64)
    rng = np.random.default_rng(plan.seed)
    return Measurement(
        artifact_sha256=artifact.sha256,
        file=name,
        runtime=timed.runtime,
        threads=1,
        machine=this_machine(),
        load_ms=timed.load_ms,
        memory=None,
        warmup_ns=(),
        samples_ns=timed.samples_ns,
        steady=steady_from(np.asarray(timed.samples_ns, np.int64)) is not None,
        disturbance=disturbance,
        p50=percentile(samples, 50, rng),
        p90=percentile(samples, 90, rng),
        p99=percentile(samples, 99, rng),
        conditions=Conditions(before=before, after=after),
        layers=there.layers(artifact),
    )


def _version(digits: str) -> tuple[int, int, int]:
    """10.3.0 of v100300, 8.5.2 of v8502: two digits a part from version 10 on."""
    number = int(digits)
    if len(digits) > 4:  # noqa: PLR2004  # 8502 is the older spelling
        return number // 10_000, number // 100 % 100, number % 100
    return number // 1000, number // 100 % 10, number % 100


def _started(words: Sequence[str], *, within_s: float) -> tuple[int, str]:
    """Run trtexec within a time; its exit code, and the two ends of what it said."""
    try:
        done = run_program(words, patience_s=within_s, most_bytes=_SAYS_BYTES)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{words[0]}: did not end within {within_s:.0f} s; is the GPU busy?"
        ) from error
    except OSError as error:
        raise DeviceError(f"{words[0]}: cannot be started: {error.strerror}") from error
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def _complaint(said: str) -> str:
    """The first error of what trtexec said, or its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line]
    last = (errors or lines or ["it said nothing"])[0 if errors else -1]
    return printable(last)[:_LONGEST]


def _written(path: Path, artifact: Artifact) -> bytes:
    """What trtexec wrote, of bounded size."""
    if not path.is_file():
        raise DeviceError(f"{artifact.path}: {PROGRAM} did not write {path.name}")
    return read_bytes(path, largest=_LARGEST_BYTES)


def _seconds(text: str) -> float:
    """A number that a program printed; 0 for what is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
