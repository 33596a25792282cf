"""Cycles of blocks whose length can be told from the core's manual."""

import shutil

import pytest

from compress.prediction import cycles as analysis
from compress.prediction.boards import Calibration, chosen
from compress.prediction.cycles import Llvm, cycles, installed

# fmla v0.4s, v1.4s, v2.4s: into v0 again and again, each needs the one before.
FMLA = "4e22cc20"
# b.ne #0 and b.ne #-4: a loop of one instruction, one of two.
HERE, BACK = "54000001", "54ffffe1"


@pytest.fixture
def llvm() -> Llvm:
    """LLVM of this machine."""
    found = installed()
    if not found:
        pytest.skip("llvm-mca 19 or later is not installed: apt-get install llvm-19")
    return found[0]


def test_a_loop_takes_its_latency_and_a_straight_line_its_throughput(
    llvm: Llvm,
) -> None:
    """An A72 adds an FMLA to another's sum after 3 cycles or more, starts two in one.

    (Arm's Cortex-A72 Software Optimization Guide, section 3.15.)
    """
    loop, line = {(FMLA, BACK): 1000}, {(FMLA,): 1000}

    (looping,) = cycles([loop], core="cortex-a72", llvm=llvm, form="mixed")
    (straight,) = cycles([line], core="cortex-a72", llvm=llvm, form="mixed")

    assert looping >= 3000
    assert straight <= 1000


def test_parts_add_up_to_the_whole(llvm: Llvm) -> None:
    """What is too rare to be analyzed is charged at the mean, in both."""
    one = {(FMLA,) * 8 + (HERE,): 1000, (FMLA, FMLA): 1}
    other = {(FMLA,) * 4: 500}
    whole = {**one, **other}

    total, *parts = cycles(
        [whole, one, other], core="neoverse-n1", llvm=llvm, form="throughput"
    )

    assert sum(parts) == pytest.approx(total)


def test_an_llvm_that_is_absent_or_too_old_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before 19, models of N1 were another core's."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert installed() == []

    monkeypatch.setattr(shutil, "which", lambda program: program)
    monkeypatch.setattr(analysis, "_version", lambda _: "14.0.6")
    assert installed() == []


def test_the_newest_that_predictions_are_known_for_is_taken() -> None:
    """A newer one may have other models; it is better than none."""
    llvms = [Llvm(f"{major}.1.0", "", "") for major in (30, 22, 19)]
    known = Calibration(
        factor=1.0, error=0.1, worst=0.2, form="mixed", litert="2.3.0", llvm="22.1.8"
    )

    assert chosen(llvms, {"19": known, "22": known}) == llvms[1]
    assert chosen(llvms[:1], {"22": known}) == llvms[0]
    assert chosen([], {"22": known}) is None
