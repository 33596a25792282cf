"""A container engine, Docker or Podman: found, asked to build an image, and to run one.

Every call is a list of words, never a line for a shell, and ends in time.
"""

import os
import platform
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from compress.devices.complaint import complaint
from runtime.errors import DeviceError, MissingDependencyError, RecipeError
from runtime.programs import run_program

_ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAMS: Final = ("docker", "podman")
_ASKED_S: Final = 60.0
# Under emulation pip takes minutes to unpack two interpreters.
_BUILT_S: Final = 3600.0
# Further words for the build: another base, a proxy's certificate (docker/README.md).
BUILD_WORDS: Final = "EDGEPRESS_DOCKER_BUILD"
_WITHOUT: Final = (
    "to go on without one, copy the runtime to the board (README.md, Installing a "
    "part), or measure here with --device cpu"
)
# What kernels, runtimes and inits say of a program for another processor.
_FOREIGN: Final = "exec format error"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of ours.

    options: further words of `run`; gpu: the engine's runtime that hands it a GPU, if
    it needs one; runtime: what executes files in it where nothing else was asked for,
    None for what their format is run by.
    """

    name: str
    dockerfile: str  # below docker/
    platform: str
    options: tuple[str, ...] = ()
    gpu: str | None = None
    runtime: str | None = None

    @property
    def arch(self) -> str:
        """The processor whose programs it holds, as engines call it."""
        return self.platform.partition("/")[2]

    def tag(self) -> str:
        """Its name with a digest of all it is made from; RecipeError without these."""
        found = sha256()
        for path in self._sources():
            found.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
            found.update(sha256(path.read_bytes()).digest())
        found.update(os.environ.get(BUILD_WORDS, "").encode())
        return f"{self.name}:{found.hexdigest()[:12]}"

    def _sources(self) -> Iterator[Path]:
        """The files that the Dockerfile reads, and it."""
        dockerfile = _ROOT / "docker" / self.dockerfile
        if not dockerfile.is_file():
            raise RecipeError(
                f"--device: {dockerfile} is not there; images are built from a "
                "checkout of edgepress, not from an installed wheel"
            )
        yield from (dockerfile, _ROOT / "pyproject.toml")
        yield from sorted((_ROOT / "docker/device").glob("*.sh"))
        yield from sorted((_ROOT / "runtime").rglob("*.py"))


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program that builds and runs images."""

    program: str

    def build(self, image: Image) -> str:
        """Build `image` unless it is there; its tag.

        DeviceError if that fails, or before, if no container here can have its GPU.
        """
        self._check_gpu(image)
        tag = image.tag()
        if self._call(["image", "inspect", tag], patience_s=_ASKED_S).returncode == 0:
            return tag
        words = ["build", "--platform", image.platform, "--tag", tag]
        words += ["--file", str(_ROOT / "docker" / image.dockerfile)]
        given = shlex.split(os.environ.get(BUILD_WORDS, ""))
        done = self._call([*words, *given, str(_ROOT)], patience_s=_BUILT_S)
        if done.returncode:
            raise DeviceError(
                f"{image.name}: the image cannot be built: {_why(done, image)}; "
                f"try by hand: {self.program} {shlex.join(words)} "
                f"{f'${BUILD_WORDS} ' if given else ''}{shlex.quote(str(_ROOT))}"
            )
        return tag

    def run(  # noqa: PLR0913  # a container: of what, doing what, within which limits
        self,
        image: Image,
        tag: str,
        words: Sequence[str],
        *,
        models: Path,
        environment: Iterable[str] = (),
        patience_s: float,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run Python in a container that sees `models` and nothing else of here.

        It has no network, no rights and nothing to write to but memory. `--init`: a
        program that crashes as PID 1 under emulation hangs forever. One that does not
        end within `patience_s` is removed, and a DeviceError.
        """
        name = f"edgepress-{uuid.uuid4().hex[:12]}"
        confined = [
            *("run", "--rm", "--init", "--name", name, "--platform", image.platform),
            *("--network", "none", "--read-only", "--tmpfs", "/tmp:size=256m"),  # noqa: S108
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--pids-limit", "512", "--volume", f"{models}:/models:ro"),
            *(("--runtime", image.gpu) if image.gpu else ()),
            *(word for each in environment for word in ("--env", each)),
            *image.options,
            *("--entrypoint", "python3", tag, *words),
        ]
        try:
            done = self._call(confined, patience_s=patience_s)
        except BaseException:  # an interruption leaves none behind, either
            self._call(["rm", "--force", name], patience_s=_ASKED_S)
            raise
        if done.returncode and _is_foreign(done):
            raise DeviceError(f"{image.name}: {_why(done, image)}")
        return done

    def _check_gpu(self, image: Image) -> None:
        """Refuse an image whose GPU no container of this engine can have."""
        if image.gpu is None:
            return
        asked = ["info", "--format", "{{json .Runtimes}}"]
        done = self._call(asked, patience_s=_ASKED_S)
        if done.returncode or f'"{image.gpu}"'.encode() not in done.stdout:
            raise DeviceError(
                f"{image.name}: {self.program} gives containers no GPU here, it has no "
                f"runtime {image.gpu!r}; on a Jetson, run: sudo nvidia-ctk runtime "
                "configure --runtime=docker, and start it again; elsewhere, measure on "
                "a Jetson over SSH: compress devices add, then --device NAME"
            )

    def _call(
        self, words: Sequence[str], *, patience_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Call the engine; DeviceError if it does not come to an end."""
        try:
            return run_program(
                [self.program, *words],
                patience_s=patience_s,
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{Path(self.program).name} {words[0]}: no end after {patience_s:.0f} "
                "s, so it was stopped; the machine may be busy, or the program hangs"
            ) from error
        except OSError as error:
            raise DeviceError(
                f"{self.program}: cannot be run: {error.strerror}"
            ) from error


def engine() -> Engine:
    """The first engine that answers and can build.

    None installed, or no way to build, is a MissingDependencyError, one that does not
    answer a DeviceError.
    """
    folders = os.get_exec_path()
    every = (shutil.which(name, path=each) for name in _PROGRAMS for each in folders)
    installed = [path for path in every if path]
    if not installed:
        raise MissingDependencyError(
            f"no container engine here: neither {' nor '.join(_PROGRAMS)}; install one "
            f"(Debian: apt-get install docker.io), or, {_WITHOUT}"
        )
    unable = []
    for program in installed:
        found = Engine(program=program)
        done = found._call(["info"], patience_s=_ASKED_S)  # noqa: SLF001  # its maker
        if done.returncode:
            continue
        # From 23 on Docker's client asks its plug-in buildx, which may not be there.
        helped = found._call(["build", "--help"], patience_s=_ASKED_S)  # noqa: SLF001
        if helped.returncode == 0:
            return found
        unable.append(program)
    if unable:
        raise MissingDependencyError(
            f"{unable[0]}: builds no image without its plug-in buildx; run: apt-get "
            "install docker-buildx (of Docker's own packages: docker-buildx-plugin), "
            f"or, {_WITHOUT}"
        )
    why = complaint(done.stderr, longest=300)
    raise DeviceError(
        f"{installed[-1]}: the engine does not answer ({why}); start it or ask "
        f"for the right to use it, or, {_WITHOUT}"
    )


def _is_foreign(done: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether a program of the image is none that this machine executes."""
    return _FOREIGN in (done.stderr + done.stdout).decode("utf-8", "replace").lower()


def _why(done: subprocess.CompletedProcess[bytes], image: Image) -> str:
    """Why an engine's call failed, in a clause."""
    if _is_foreign(done):
        return (
            f"this machine ({platform.machine()}) does not execute programs for "
            f"{image.arch}, no emulator is registered; run: docker/arm/install (as "
            "root), then the same command again"
        )
    return complaint(done.stderr, longest=300)
