"""Agreement of two classifiers, against numbers worked out by hand or by scipy."""

import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import binomtest

from export.parity import Parity, Scores, compare, parity_checks
from runtime.errors import InputRejectedError, ParityError


def table(*rows: tuple[float, ...]) -> Scores:
    """Scores, a row an image."""
    return np.array(rows, np.float32)


def looked_up(scores: Scores) -> Callable[[Scores], Scores]:
    """Make a classifier that answers image i with row i of `scores`."""

    def answer(batch: Scores) -> Scores:
        return scores[batch[:, 0].astype(int)]

    return answer


def found(reference: Scores, candidate: Scores, *, batch: int = 2) -> Parity:
    """Compare two tables of scores, `batch` images at a time."""
    images = np.arange(len(reference), dtype=np.float32)[:, None]
    batches = (images[i : i + batch] for i in range(0, len(images), batch))
    return compare(looked_up(reference), looked_up(candidate), batches, name="b.onnx")


def test_equal_scores_agree_entirely_and_have_no_noise() -> None:
    """No noise is None, since JSON has no infinity."""
    scores = table((1, 2), (4, 3), (0, 0))

    same = found(scores, scores)

    assert same.argmax_agreement == 1
    assert same.max_abs_error == 0
    assert same.sqnr_db is None
    assert json.loads(json.dumps(same.as_record(), allow_nan=False))["images"] == 3


def test_noise_is_measured_against_the_signal() -> None:
    """Reference energy 9 + 16 + 0 + 75 = 100, error energy 0.01 + 0 + 0 + 0 = 0.01."""
    reference = table((3, 4), (0, math.sqrt(75)))
    candidate = table((3.1, 4), (0, math.sqrt(75)))

    near = found(reference, candidate)

    assert near.sqnr_db == pytest.approx(40, abs=1e-4)
    assert near.max_abs_error == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 50])
def test_batches_do_not_matter(batch: int) -> None:
    """Against one computation over everything at once, with numpy's own words."""
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(50, 4)).astype(np.float32)
    candidate = reference + rng.normal(size=(50, 4)).astype(np.float32) / 2

    streamed = found(reference, candidate, batch=batch)

    error = candidate.astype(float) - reference
    assert streamed.images == 50
    assert streamed.argmax_agreement == np.mean(
        reference.argmax(1) == candidate.argmax(1)
    )
    assert streamed.max_abs_error == np.abs(error).max()
    expected_db = 20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(error))
    assert streamed.sqnr_db == pytest.approx(expected_db, abs=1e-5)


def test_a_tie_of_the_reference_may_be_broken_either_way() -> None:
    """The reference finds classes 0 and 1 equally good; the third image is a flip."""
    reference = table((5, 5, 0), (5, 5, 0), (5, 5, 0))
    candidate = table((5.1, 5, 0), (5, 5.1, 0), (5, 5, 5.1))

    assert found(reference, candidate).argmax_agreement == pytest.approx(2 / 3)


def test_a_tie_of_the_candidate_is_counted_and_judged_as_a_device_would() -> None:
    """Clipped scores share the maximum; a device then takes the first class."""
    reference = table((4, 5, 0), (5, 4, 0))
    clipped = table((4, 4, 0), (4, 4, 0))

    judged = found(reference, clipped)

    assert judged.ties == 2
    assert judged.argmax_agreement == 0.5


@pytest.mark.parametrize(("agreed", "images"), [(10, 10), (0, 7), (640, 650), (1, 2)])
def test_the_interval_is_wilsons(agreed: int, images: int) -> None:
    """As scipy computes it."""
    part = Parity(
        images=images, argmax_agreement=agreed / images, max_abs_error=0, sqnr_db=None
    )

    expected = binomtest(agreed, images).proportion_ci(method="wilson")

    assert part.interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_memory_does_not_grow_with_the_images() -> None:
    """Each batch is let go before the next is made."""
    alive = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def batches() -> Iterator[Scores]:
        nonlocal alive
        for _ in range(20):
            alive += 1
            assert alive <= 2
            yield np.ones((4, 3), np.float32).view(Counted)

    def answer(batch: Scores) -> Scores:
        return np.array(batch)

    assert compare(answer, answer, batches(), name="b.onnx").images == 80


def sentences(
    parity: Parity, *, threshold: float = 0.99, floor_db: float = 40
) -> list[str]:
    """What is missed, as `student.onnx` would be told."""
    checks = parity_checks(
        parity,
        file="student.onnx",
        threshold=threshold,
        floor_db=floor_db,
        default=True,
    )
    return [check.sentence for check in checks if not check.kept]


def test_a_file_below_the_threshold_is_said_to_be() -> None:
    """The sentence has the file, the share, its interval and the threshold."""
    bad = Parity(images=650, argmax_agreement=0.8, max_abs_error=0.5, sqnr_db=14.2)

    agreement, sqnr = sentences(bad)
    assert agreement == (
        "student.onnx: the agreement with its network is 80.00 % (95 % sure of 76.75 % "
        "to 82.89 %); allowed: at least 99.00 % (a default)"
    )
    assert sqnr == (
        "student.onnx: the SQNR of the scores against its network is 14.2 dB; allowed: "
        "at least 40.0 dB (a default)"
    )
    assert sentences(bad, threshold=0.8, floor_db=14) == []


def test_too_few_images_are_named_as_such() -> None:
    """One flip in 20 does not prove that 99 % cannot be reached."""
    few = Parity(images=20, argmax_agreement=0.95, max_abs_error=0.1, sqnr_db=50.0)

    (sentence,) = sentences(few)

    assert "20 images are too few to be sure" in sentence


def test_one_output_proves_nothing_by_being_the_largest() -> None:
    """The same offset on every answer is 40 dB of a large mean, and all of the rest."""
    answers = np.asarray([[1000.0], [1001.0], [1002.0]])

    off = found(answers, answers + 1)

    assert off.argmax_agreement is None
    assert off.interval is None
    assert off.sqnr_db == pytest.approx(10 * math.log10(np.var(answers)))
    assert sentences(off)
    assert "same answer" not in off.as_text()
    assert sentences(found(answers, answers)) == []


def test_outputs_that_are_no_classes_are_judged_by_their_scores() -> None:
    """Of an embedding the largest entry may change though nothing is wrong."""
    embedding = table((1.0, 1.001), (2.0, -1.0))
    close = embedding + table((0.002, 0.0), (0.0, 0.0))

    batches = (np.arange(2, dtype=np.float32)[:, None],)
    held = compare(
        looked_up(embedding), looked_up(close), batches, name="b", classes=False
    )

    assert found(embedding, close).argmax_agreement == 0.5
    assert held.argmax_agreement is None
    assert sentences(held) == []


def test_scores_that_cannot_be_compared_are_parity_errors() -> None:
    """Another number of classes, or NaN; the sentence says where."""
    scores = table((1, 2), (3, 4), (5, 6))
    broken = table((1, 2), (3, 4), (5, math.nan))

    with pytest.raises(ParityError, match=r"b\.onnx gives .* not finite for image 2"):
        found(scores, broken)
    with pytest.raises(ParityError, match=r"trained network gives .* not finite"):
        found(broken, scores)
    with pytest.raises(
        ParityError, match=r"shape \[2, 1\], the trained network \[2, 2\]"
    ):
        found(scores, scores[:, :1])


def test_no_images_prove_nothing() -> None:
    """An empty data set is not 100 % agreement."""
    with pytest.raises(InputRejectedError, match="no images to compare on"):
        compare(looked_up(table()), looked_up(table()), iter(()), name="b.onnx")


def test_a_silent_reference_gives_a_finite_sqnr() -> None:
    """All zeros against anything is as bad as numbers can say, but still JSON."""
    worst = found(table((0, 0)), table((1, 0)))

    assert worst.sqnr_db is not None
    assert worst.sqnr_db < -1000
    json.dumps(worst.as_record(), allow_nan=False)
