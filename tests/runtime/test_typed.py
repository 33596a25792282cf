"""A record from a file is what its dataclass declares, or one sentence says where."""

import cProfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputRejectedError
from runtime.preprocess import LARGEST_SIDE, Preprocess
from runtime.typed import Between, record_as

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0, -1, 10**9, 10**400, 32.0, "32", "NCHW"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
sound = st.builds(
    Preprocess,
    size=st.integers(1, LARGEST_SIDE),
    resize=st.integers(1, LARGEST_SIDE),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mean=st.tuples(*[st.floats(-10, 10)] * 3),
    std=st.tuples(*[st.floats(1e-3, 300)] * 3),
    layout=st.sampled_from(["NCHW", "NHWC"]),
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A record within one."""

    sides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Every form of annotation."""

    name: str
    share: Annotated[float, Between(0, 1)] = 0.5
    kind: Literal["a", "b"] | None = None
    inner: Inner | None = None
    pair: tuple[float, int] = (0.0, 0)
    by_name: Mapping[str, int] | None = None
    free: object = None
    flag: bool = False


@given(sound)
def test_what_was_written_is_read_back(preprocess: Preprocess) -> None:
    record = preprocess.as_record()
    as_json = {k: list(v) if isinstance(v, tuple) else v for k, v in record.items()}

    assert Preprocess.from_record(as_json) == preprocess


@given(st.sampled_from([*Preprocess(size=8, resize=8).as_record()]), anything)
def test_one_value_of_another_kind_is_refused_or_is_allowed(
    key: str, value: object
) -> None:
    """What is taken is of the declared types, and normalises a black image."""
    record = Preprocess(size=8, resize=8).as_record() | {key: value}
    try:
        found = Preprocess.from_record(record)
    except InputRejectedError as error:
        assert str(error).startswith(f"preprocess: {key}")  # noqa: PT017  # or none
        assert len(str(error)) < 300  # noqa: PT017  # as above
        return
    assert type(found.size) is type(found.resize) is int
    assert all(type(each) is float for each in (*found.mean, *found.std))
    assert min(found.std) > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 5}, "x: name is 5; allowed: a text"),
        ({"name": None}, "x: name is null; allowed: a text"),
        ({"share": 1.5}, "x: share is 1.5; allowed: a number from 0 to 1"),
        ({"share": True}, "x: share is true; allowed: a number"),
        ({"share": float("nan")}, "x: share is nan; allowed: a number"),
        ({"kind": "c"}, "x: kind is 'c'; allowed: a, b or null"),
        (
            {"inner": {"sides": [1, "2"]}},
            r"x: inner.sides\[1\] is '2'; allowed: a whol",
        ),
        ({"inner": {"sides": [1], "tops": 1}}, "x: inner.tops is an unknown key"),
        ({"inner": 3}, "x: inner is 3; allowed: a record or null"),
        ({"pair": [1.0]}, r"x: pair is \[1.0\]; allowed: a list of 2"),
        ({"pair": "ab"}, "x: pair is 'ab'; allowed: a list of 2"),
        ({"by_name": {"a": "b"}}, "x: by_name.a is 'b'; allowed: a whole number"),
        ({"flag": 1}, "x: flag is 1; allowed: true or false"),
        ({"nmae": "y"}, "x: nmae is an unknown key; allowed: name, share"),
    ],
)
def test_the_sentence_says_where_and_what(
    change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputRejectedError, match=sentence):
        record_as(Outer, {"name": "n"} | change, source="x")


def test_a_record_may_know_more_than_we_do() -> None:
    """Where later versions add keys; within it nothing is added in silence."""
    found = record_as(
        Outer, {"name": "n", "new": 1, "pair": [1, 2]}, source="x", others="ignored"
    )

    assert asdict(found)["pair"] == (1.0, 2)
    with pytest.raises(InputRejectedError, match="name is missing"):
        record_as(Outer, {}, source="x")
    with pytest.raises(InputRejectedError, match="x is 5; allowed: a record"):
        record_as(Outer, 5, source="x")


def test_a_number_that_no_computer_has_is_refused() -> None:
    """JSON may hold any number of digits; Python makes a whole number of them."""

    @dataclass(frozen=True, kw_only=True)
    class Scale:
        factor: float

    with pytest.raises(InputRejectedError, match=r"twin: factor is 1000.*a number"):
        record_as(Scale, {"factor": 10**400}, source="twin")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Many names, and many records."""

    names: tuple[str, ...] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)


def calls(work: Callable[[], object]) -> int:
    """How many functions `work` calls: what takes time, without a clock."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def test_half_a_million_names_are_looked_at_at_once() -> None:
    names = [f"class {number}" for number in range(500_000)]
    assert calls(lambda: record_as(Labels, {"names": names}, source="x")) < 1000
    assert record_as(Labels, {"names": names}, source="x").names == tuple(names)
    names[400_000] = 5  # type: ignore[call-overload]
    with pytest.raises(InputRejectedError, match=r"names\[400000\] is 5"):
        record_as(Labels, {"names": names}, source="x")


def test_what_a_record_declares_is_looked_up_once() -> None:
    """Of a thousand records each costs no more than each of a hundred."""

    def read(count: int) -> Labels:
        records = {str(number): {"sides": [number]} for number in range(count)}
        return record_as(Labels, {"by_name": records}, source="x")

    assert calls(lambda: read(1000)) < 10 * calls(lambda: read(100)) < 100_000
