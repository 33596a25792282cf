"""Better than chance: against what answers of the same shares get when shuffled."""

import numpy as np
import pytest

from compress.evaluation.chance_level import above_chance


def test_chance_is_what_shuffled_answers_get() -> None:
    """The mean over 2,000 shuffles, of answers as uneven as the labels."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 300, p=(0.7, 0.2, 0.1))
    answers = rng.choice(3, 300, p=(0.5, 0.4, 0.1))

    check = above_chance(answers, labels, "abc", file="a.onnx")

    shuffled = [np.mean(rng.permutation(answers) == labels) for _ in range(2000)]
    assert check.allowed == pytest.approx(np.mean(shuffled), abs=0.003)
    assert not check.kept


def test_right_answers_are_above_chance() -> None:
    labels = np.arange(40) % 4

    assert above_chance(labels, labels, "abcd", file="a.onnx").kept


@pytest.mark.parametrize("classes", ["abcd", ""])
def test_one_answer_is_named_however_often_it_is_right(classes: str) -> None:
    """90 % of the images show what the network always says."""
    labels = np.asarray([1] * 90 + [0, 2, 3] * 3 + [0])

    check = above_chance(np.ones_like(labels), labels, classes, file="a.onnx")

    assert not check.kept
    named = "'b'" if classes else "class 1"
    assert f"one answer, {named}, to all 100 images" in check.sentence


def test_images_of_one_class_cannot_tell() -> None:
    ones = np.ones(30, np.int64)

    assert above_chance(ones, ones, "ab", file="a.onnx").kept is None
