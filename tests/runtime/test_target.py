"""Targets: what a file for each device looks like, and which one suits this machine."""

from dataclasses import replace

import pytest

from runtime.errors import RecipeError
from runtime.machine import this_machine
from runtime.target import TARGETS, int8_target, target


def test_every_target_is_known_by_its_name() -> None:
    """The table's keys are the names that users write."""
    assert all(target(name).name == name for name in TARGETS)


def test_an_unknown_target_is_refused_with_those_that_exist() -> None:
    """One sentence, and what to write instead."""
    with pytest.raises(RecipeError, match=r"unknown target 'toaster'; known: android"):
        target("toaster")


@pytest.mark.parametrize(
    ("arch", "features", "expected"),
    [
        ("x86_64", ("avx2", "avx512_vnni"), "x86-vnni"),
        ("x86_64", ("avx2", "avx_vnni"), "x86-vnni"),
        ("x86_64", ("avx2", "fma"), "x86-avx2"),
        ("aarch64", ("asimd", "asimddp"), "arm64"),
    ],
)
def test_a_machine_gets_the_file_that_suits_its_instructions(
    arch: str, features: tuple[str, ...], expected: str
) -> None:
    """Without dot products of 8 bits, x86 saturates."""
    machine = replace(this_machine(), arch=arch, features=features)

    assert int8_target(machine) is TARGETS[expected]
