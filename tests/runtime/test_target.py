"""Targets: what a file for each device looks like, and which one suits this machine."""

from dataclasses import replace

import pytest

from runtime.backends.table import BACKENDS, ran_by
from runtime.errors import RecipeError
from runtime.machine import this_machine
from runtime.target import ALIASES, TARGETS, int8_target, misplaced, target


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
        ("aarch64", ("asimd", "asimddp"), "generic-arm64"),
    ],
)
def test_a_machine_gets_the_file_that_suits_its_instructions(
    arch: str, features: tuple[str, ...], expected: str
) -> None:
    """Without dot products of 8 bits, x86 saturates."""
    machine = replace(this_machine(), arch=arch, features=features)

    assert int8_target(machine) is TARGETS[expected]


@pytest.mark.parametrize(
    ("old", "layout", "stored"),
    [
        ("x86", "x86-vnni", ("uint8", False)),
        ("x86-vnni", "x86-vnni", ("uint8", False)),
        ("x86-avx2", "x86-avx2", ("uint8", True)),
        ("arm64", "arm64", ("int8", False)),
        ("jetson", "jetson", ("symmetric", False)),
    ],
)
def test_names_of_old_recipes_mean_the_files_that_they_meant(
    old: str, layout: str, stored: tuple[str, bool]
) -> None:
    """What stands in a file's name, and how it stores numbers, as in 0.1.0."""
    found = target(old).layout

    assert found is not None
    assert (found.name, found.activations, found.saturates) == (layout, *stored)


def test_the_name_of_every_layout_is_that_of_a_target() -> None:
    """So that a file, which knows its layout only, can be asked what it needs."""
    layouts = {each.layout for each in TARGETS.values() if each.layout is not None}

    assert all(target(each.name).layout == each for each in layouts)
    assert set(ALIASES.values()) <= set(TARGETS)


def test_every_target_is_run_by_a_runtime_of_the_table() -> None:
    """Of the device itself is only trtexec."""
    runtimes = {each.runtime for each in TARGETS.values()} - {"trtexec"}

    assert runtimes <= set(BACKENDS)
    for each in TARGETS.values():
        known = BACKENDS.get(each.runtime)
        assert known is None or each.format in known.formats


@pytest.mark.parametrize(
    ("layout", "features", "why"),
    [
        ("x86-vnni", ("avx2", "fma"), "avx512_vnni or avx_vnni or amx_int8"),
        ("x86-vnni", ("avx2", "amx_int8"), None),
        ("arm64", ("avx2",), "asimd"),
        ("arm64", ("asimd",), None),
        ("x86-vnni", (), None),  # this machine does not say
        ("from elsewhere", ("avx2",), None),
        (None, ("avx2",), None),
    ],
)
def test_a_file_for_another_cpu_is_told_by_its_instructions(
    layout: str | None, features: tuple[str, ...], why: str | None
) -> None:
    """One of those that the target names is enough."""
    machine = replace(this_machine(), cpu="A CPU", features=features)

    found = misplaced(layout, machine)

    assert found == (None if why is None else f"A CPU has no {why}")


def test_every_trap_says_who_found_it() -> None:
    """A sentence, and its source."""
    for each in TARGETS.values():
        for trap in each.traps:
            assert trap.text.endswith(".")
            assert trap.source


@pytest.mark.parametrize(
    ("name", "cpu", "why"),
    [
        ("rpi4", "Cortex-A72", None),
        ("rpi4", "Cortex-A76", "Cortex-A76 is no Cortex-A72"),
        ("rpi5", "Cortex-A72", "Cortex-A72 is no Cortex-A76"),
        ("jetson-orin", "Cortex-A78AE", None),
        ("rpi4", "aarch64", None),  # a system that does not tell its core
    ],
)
def test_boards_of_equal_instructions_are_told_by_their_cores(
    name: str, cpu: str, why: str | None
) -> None:
    """A Pi 5 does all that a Pi 4 does, faster: its times are not those of a Pi 4."""
    machine = replace(
        this_machine(), arch="aarch64", cpu=cpu, features=("asimd", "asimddp")
    )
    assert target(name).lacking(machine) == why


@pytest.mark.parametrize(
    ("name", "runtime", "expected"),
    [
        ("onnxruntime", "onnxruntime 1.32.0", True),
        ("onnxruntime", "onnxruntime 1.32.0 (CUDAExecutionProvider)", False),
        ("onnxruntime-cuda", "onnxruntime 1.32.0 (CUDAExecutionProvider)", True),
        ("litert", "ai-edge-litert 2.3.0", True),
        ("litert", "openvino 2026.4.1", False),
        ("trtexec", "onnxruntime 1.32.0", False),
    ],
)
def test_a_runtime_is_known_by_what_its_sessions_call_themselves(
    name: str, runtime: str, expected: bool
) -> None:
    """Milliseconds of ONNX Runtime on the CPU are not those of TensorRT."""
    assert ran_by(name, runtime) is expected
