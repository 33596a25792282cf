"""What an emulated core shows of itself, and what is said where it cannot be had."""

from pathlib import Path

import pytest

from compress.devices.emulated import cpuinfo, emulated, needed
from runtime.errors import MissingDependencyError, RecipeError


def test_only_the_newer_core_shows_dot_products() -> None:
    """Libraries choose kernels by this file: A72 is ARMv8.0, A76 8.2 with asimddp."""
    older, newer = cpuinfo("cortex-a72", cores=4), cpuinfo("cortex-a76", cores=2)

    assert older.count("CPU part\t: 0xd08") == 4
    assert "asimddp" not in older
    assert newer.count("CPU part\t: 0xd0b") == 2
    assert "asimddp" in newer


def test_a_missing_program_is_named_with_its_package() -> None:
    """Before anything is unpacked, in one sentence with the line to type."""
    with pytest.raises(MissingDependencyError, match="apt-get install qemu-user"):
        needed("no-such-emulator", "qemu-user", what="emulated cortex-a76")


def test_an_unknown_core_is_refused_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is unpacked, too."""
    monkeypatch.setattr("compress.devices.emulated.needed", lambda *_, what: what)

    with pytest.raises(RecipeError, match=r"cortex-a9.*cortex-a72, cortex-a76"):
        emulated([], cpu="cortex-a9", packages=tmp_path, patience_s=1.0)
