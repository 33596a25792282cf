"""Programs that are no libraries, on a path that the tests make up."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from compress import programs
from compress.devices.engine import engine
from compress.diagnosis import diagnose
from compress.prediction import cycles, predict
from compress.programs import PROGRAMS, Seen, programs_here
from runtime.backends import trtexec_words
from runtime.errors import MissingDependencyError

# What each says, on Debian 12 and on JetPack 6, and on which stream.
SAYS = {
    "ssh": "echo 'OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025' >&2",
    "docker": "echo 'Docker version 20.10.24+dfsg1, build 297e128'",
    "qemu-aarch64": "echo 'qemu-aarch64 version 7.2.19 (Debian 1:7.2+dfsg-7+deb12u18)'",
    "cc": "echo 'cc (Debian 12.2.0-14+deb12u1) 12.2.0'",
    "llvm-mc-40": "echo 'LLVM version 40.1.7'",
    "llvm-mca-40": "echo 'Debian LLVM version 40.1.7'",
    "trtexec": "echo '&&&& RUNNING TensorRT.trtexec [TensorRT v100300]'; exit 1",
}


@pytest.fixture
def have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put programs of these names, or with other words, on an otherwise empty path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec_words, "_PLACES", ())
    cycles._version.cache_clear()

    def put(*names: str, **other: str) -> None:
        for name, text in {**{name: SAYS[name] for name in names}, **other}.items():
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return put


@pytest.fixture
def no_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of Debian's is found where it lies, whatever the path is."""
    monkeypatch.setattr(programs, "installed", list)
    monkeypatch.setattr(predict, "installed", list)


def row(name: str) -> Seen:
    """What there is of one."""
    return next(each for each in programs_here() if each.program.name == name)


def test_what_is_here_is_told_by_its_version(have: Callable[..., None]) -> None:
    have(*SAYS)
    assert {each.program.name: each.version for each in programs_here()} == {
        "ssh": "9.2p1",
        "docker": "20.10.24",
        "qemu-aarch64": "7.2.19",
        "cc": "12.2.0",
        "llvm-mca": "40.1.7",
        "trtexec": "TensorRT v100300",
    }


@pytest.mark.usefixtures("have", "no_llvm")
def test_what_is_missing_comes_with_its_use_and_the_line_to_install_it() -> None:
    """Programs for one purpose in one line; in JSON, each for itself."""
    found = diagnose(lambda _: None, programs=programs_here())

    text = " ".join(found.as_text().split())
    assert "program ssh missing boards over SSH: --device NAME" in text
    assert (
        "Missing: predictions: --as rpi4|rpi5. "
        "Get it: apt-get install qemu-user gcc libc6-dev llvm-19 "
    ) in text
    assert max(map(len, found.as_text().splitlines())) <= 80
    records = json.loads(found.as_json())["programs"]
    assert [each["name"] for each in records] == [each.name for each in PROGRAMS]
    assert records[0]["install"] == "apt-get install openssh-client"
    assert found.exit_code == 0


@pytest.mark.usefixtures("have", "no_llvm")
def test_the_doctor_names_the_packages_that_a_verb_names() -> None:
    """Where it would end for want of them."""
    packages = {each.name: each.packages for each in PROGRAMS}
    with pytest.raises(MissingDependencyError) as without_engine:
        engine()
    assert f"apt-get install {packages['docker']})" in str(without_engine.value)
    with pytest.raises(MissingDependencyError) as without_counts:
        predict.check_installed()
    wanted = " ".join(packages[each] for each in ("qemu-aarch64", "cc", "llvm-mca"))
    assert str(without_counts.value).endswith(f"apt-get install {wanted}")


def test_podman_stands_in_for_docker(have: Callable[..., None]) -> None:
    have(podman="echo 'podman version 4.3.1'")
    assert row("docker").version == "podman 4.3.1"


def test_an_engine_that_is_down_is_not_missing(have: Callable[..., None]) -> None:
    """Nothing is to be installed: the sentence is that of `--device docker:arm64`."""
    have(docker='[ "$1" = info ] && { echo "cannot connect" >&2; exit 1; }')
    found = row("docker")

    assert not found.missing
    assert found.cells()[2] == "no answer"
    text = " ".join(diagnose(programs=(found,)).as_text().split())
    assert "the engine does not answer (cannot connect); start it" in text
    assert "docker.io" not in text


def test_a_program_that_says_nothing_of_use_does_not_run(
    have: Callable[..., None],
) -> None:
    have(ssh="exit 127")
    assert str(row("ssh").reason).endswith("ssh: does not run")
