"""Weights of -128 overflow on ARM cores: the lint names them; ours have none."""

from pathlib import Path

import onnx
import pytest
from uniform_convolution import convolution

from compress.evaluation.linting import linted
from export.onnx.arm_rules import overflow_of_file, overflowing, refuse_overflow
from runtime.errors import Exit, InputRejectedError


def test_a_weight_of_minus_128_is_named() -> None:
    """The one code that the symmetric grid does not need."""
    assert overflowing(convolution(-128)) == ("conv",)
    assert overflowing(convolution(-127)) == ()


def test_a_file_for_arm_that_overflows_is_not_written() -> None:
    """The sentence says where, on which cores, in which versions, and what to do."""
    refuse_overflow(convolution(-127), name="net")

    with pytest.raises(InputRejectedError, match=r"conv .*-128.*A72.*before 1\.30"):
        refuse_overflow(convolution(-128), name="net")


def test_a_file_from_elsewhere_is_judged_too(tmp_path: Path) -> None:
    """By its path; what is no model is refused."""
    foreign, broken = tmp_path / "foreign.onnx", tmp_path / "broken.onnx"
    onnx.save(convolution(-128), foreign)
    broken.write_bytes(b"\x08\x08garbage")

    assert str(overflow_of_file(foreign)).startswith("foreign.onnx: conv has weights")
    with pytest.raises(InputRejectedError, match="is no ONNX model"):
        overflow_of_file(broken)


def test_verify_holds_a_foreign_file_against_the_rule(tmp_path: Path) -> None:
    """`compress verify FILE --target generic-arm64`: exit code 4, or 0."""
    for lowest, code in ((-128, Exit.PARITY), (-127, Exit.FIT)):
        path = tmp_path / f"weights{lowest}.onnx"
        onnx.save(convolution(lowest), path)
        assert linted(path, "generic-arm64").exit_code == code
