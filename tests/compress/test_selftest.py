"""What a self-test allows is what tells a network from another, or there is no test."""

from types import ModuleType

import numpy as np
import pytest
import torch

from compress import selftest
from compress.exports import Wanted
from compress.recipe import Export
from runtime.artifact import Dtype
from runtime.selftest import SelfTest

PIXELS = np.zeros((3, 4, 4, 3), np.uint8)


@pytest.fixture
def asked(tiny: ModuleType) -> Wanted:
    """A file of a small network."""
    return Wanted(role="model", model=tiny.model(), format="onnx", dtype="int8")


@pytest.mark.parametrize(
    ("largest", "step", "moved", "steps"),
    [
        (1.0, 0.01, 0.0, 1),
        (1.0, 0.01, 10.0, 20),
        (1.0, 0.01, 24.9, 50),
        (1.0, 0.01, 25.1, None),  # half of the largest score, and more
        (1.0, 0.6, 0.0, None),
        (0.0, 0.01, 0.0, 1),  # a network may answer 0, and has to then
    ],
)
def test_steps_as_wide_as_the_scores_make_no_test(
    asked: Wanted, largest: float, step: float, moved: float, steps: int | None
) -> None:
    scores = torch.linspace(-largest, largest, 12).reshape(3, 4)
    made = selftest._written(asked, Export(), PIXELS, scores, step, moved)
    assert (made is None) == (steps is None)
    if made is not None and steps is not None:
        assert made.tolerance == pytest.approx(steps * step)
        SelfTest.from_record(made.as_record(), source="x")


@pytest.mark.parametrize("dtype", ["float32", "float16", "dynamic"])
def test_what_is_written_of_floats_is_read_again(
    tiny: ModuleType, dtype: Dtype
) -> None:
    """Also where all that is kept of many scores is small beside one that is not."""
    asked = Wanted(role="model", model=tiny.model(), format="onnx", dtype=dtype)
    scores = torch.linspace(0.1, 1.0, 3000).reshape(3, 1000)
    scores[:, 1] = -1000
    made = selftest._written(asked, Export(), PIXELS, scores, None, 0.0)
    assert made is not None
    SelfTest.from_record(made.as_record(), source="x")
