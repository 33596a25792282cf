"""Debian packages unpacked into a folder: apt resolves and downloads, dpkg extracts.

apt gets lists, state and cache of its own, so that this machine's are left alone, no
package is installed, no program of one is run, and nobody has to be root.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from compress.devices.complaint import complaint
from runtime.errors import DeviceError, MissingDependencyError

_MIRROR: Final = "http://deb.debian.org/debian"
_KEYS: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Within which a slow mirror has served 40 MB.
_FETCH_S: Final = 600.0
_UNPACK_S: Final = 120.0


def unpack(packages: Sequence[str], to: Path, *, suite: str, architecture: str) -> None:
    """Unpack `packages` and all that they depend on into `to`.

    Where there is no apt or dpkg, or Debian's keys are missing, a
    MissingDependencyError; what they fail at is a DeviceError.
    """
    if not _KEYS.exists():
        raise MissingDependencyError(
            f"Debian packages: {_KEYS} is not there; run: apt-get install "
            "debian-archive-keyring"
        )
    with TemporaryDirectory() as name:
        scratch = Path(name)
        for folder in ("etc", "lists/partial", "archives/partial"):
            (scratch / folder).mkdir(parents=True)
        (scratch / "status").touch()
        (scratch / "sources.list").write_text(
            f"deb [signed-by={_KEYS}] {_MIRROR} {suite} main\n", encoding="utf-8"
        )
        apt = ["apt-get", *_options(scratch, architecture)]
        _ran([*apt, "update"], limit_s=_FETCH_S)
        _ran([*apt, "--yes", "--download-only", "install", *packages], limit_s=_FETCH_S)
        for package in sorted((scratch / "archives").glob("*.deb")):
            _ran(["dpkg-deb", "--extract", str(package), str(to)], limit_s=_UNPACK_S)


def _options(scratch: Path, architecture: str) -> list[str]:
    """What makes apt work in `scratch` alone, for another processor."""
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Debug::NoLocking": "true",
        "Dir::Cache": str(scratch),
        "Dir::Cache::Archives": str(scratch / "archives"),
        "Dir::Etc": str(scratch / "etc"),
        "Dir::Etc::SourceList": str(scratch / "sources.list"),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": str(scratch / "lists"),
        "Dir::State::Status": str(scratch / "status"),
    }
    return ["-qq", *(f"-o{name}={value}" for name, value in settings.items())]


def _ran(words: Sequence[str], *, limit_s: float) -> None:
    """Run a program to its end, or say why not."""
    try:
        done = subprocess.run(  # noqa: S603  # our own words, no shell
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit_s,
        )
    except FileNotFoundError as error:
        raise MissingDependencyError(
            f"Debian packages: need {words[0]}, which only Debian and its like have"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"Debian packages: {words[0]} not done after {limit_s:.0f} s; is there a "
            "network?"
        ) from error
    if done.returncode:
        raise DeviceError(
            f"Debian packages: {words[0]} failed: {complaint(done.stderr, longest=300)}"
        )
