"""Laps become operators: traces written by hand, what each operator ran known."""

import pytest

from compress.prediction.laps import Event, Trace, instructions, together

A, B, C = "block 0 aa", "block 1 bb bb", "block 2 cc cc cc"
OWN, DELEGATED, OTHER = 2, 8, 1


def trace(*lines: str) -> Trace:
    """What the plugin would have written: one profiled inference."""
    return Trace.of(["section", *lines, A, B, C])


def delegated(*names: str) -> list[Event]:
    """A part of the graph that a delegate took over."""
    return [Event(name, DELEGATED, 0, at) for at, name in enumerate(names)]


def counts(found: Trace, events: list[Event]) -> list[tuple[str, int]]:
    """Every operator with its instructions."""
    return [
        (each.name, instructions(each.runs)) for each in found.operators(events) or ()
    ]


def test_a_delegate_s_operators_end_a_lap_each_after_one_that_is_nobody_s() -> None:
    """Blocks have 1, 2 and 3 instructions, so sums tell which lap was taken."""
    found = trace("lap 10 0:5", "lap 20 1:10", "lap 30 2:100", "end 0:1")

    assert counts(found, delegated("Conv", "Add")) == [("Conv", 20), ("Add", 300)]


def test_an_own_operator_is_between_two_readings_of_which_the_first_is_told() -> None:
    """It begins at 7 us, which is the profiler's; the laps are nanoseconds."""
    found = trace(
        *("lap 1000 0:9", "lap 2000 1:10"),  # a delegate's part of one operator
        *("lap 7300 0:9", "lap 8000 2:5"),  # an operator of the interpreter's
        *("lap 9000 0:9", "lap 9900 1:1"),  # another part
        "end 0:1",
    )
    events = [
        *delegated("Conv"),
        Event("RESIZE", OWN, 7, 3),
        *delegated("Add"),
    ]

    assert counts(found, events) == [("Conv", 20), ("RESIZE", 15), ("Add", 2)]


def test_laps_after_which_memory_was_asked_for_are_the_profiler_s_own() -> None:
    """They surround the inference and belong to no operator."""
    found = trace("lap 1 0:9", "usage", "lap 2 0:5", "lap 3 1:4", "end 0:1")

    assert counts(found, [Event("Invoke", OTHER, 0, 0), *delegated("Conv")]) == [
        ("Conv", 8)
    ]


def test_a_concatenation_takes_a_lap_for_each_input() -> None:
    """Its copies run the same code; the operator after it does not."""
    found = trace("lap 1 0:9", "lap 2 1:4", "lap 3 1:5", "lap 4 2:1", "end 0:1")

    assert counts(found, delegated("Copy (NC, X8)", "Sum")) == [
        ("Copy (NC, X8)", 18),
        ("Sum", 3),
    ]


def test_laps_that_do_not_fit_the_events_are_given_to_nobody() -> None:
    """Better none than wrong ones."""
    found = trace("lap 1 0:9", "lap 2 1:4", "end 0:1")

    assert found.operators(delegated("Conv", "Add", "Conv")) == ()


def test_the_whole_is_the_inference_without_the_profiler() -> None:
    """A second section; the first has the profiler's instructions in it."""
    lines = ["section", "lap 1 0:9", "lap 2 1:4", "end 0:50", A, B]
    found = Trace.of([*lines, "section", "lap 3 1:4", "end 0:2"])

    whole = found.whole()

    assert whole is not None
    assert instructions(whole) == 10
    assert instructions(together(found.operators(delegated("Conv")))) == 8


@pytest.mark.parametrize(
    "lines", [[], ["section"], ["what 1 2"], ["section", "lap x"], ["lap 1 0:1"]]
)
def test_a_trace_that_is_none_is_refused(lines: list[str]) -> None:
    """ValueError or LookupError, which counting turns into a sentence."""
    with pytest.raises((ValueError, LookupError)):
        Trace.of(lines)
