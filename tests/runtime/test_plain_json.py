"""JSON from elsewhere: what it holds, or one sentence; never too much of anything."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputRejectedError, RecipeError
from runtime.files import read_bytes, read_json
from runtime.plain_json import json_record, json_value

numbers = st.integers(-(2**63), 2**63) | st.floats(
    allow_nan=False, allow_infinity=False
)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_what_the_standard_library_writes_is_read_back(value: object) -> None:
    assert json_value(json.dumps(value), source="x") == value


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:0aeE-.NItf\\', max_size=60))
def test_anything_else_is_a_value_or_one_sentence(text: str | bytes) -> None:
    """Where a value comes back it is the one that the standard library finds."""
    try:
        found = json_value(text, source="x.json")
    except InputRejectedError as error:
        assert str(error).startswith("x.json: not readable")  # noqa: PT017  # or none
    else:
        assert found == json.loads(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "no number that a computer has"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"a": 1, "a": 2}', "key 'a' is there twice"),
        ("[" * 100_000, "nested deeper"),
        ("[" * 300 + "]" * 300, "nested deeper"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ("[" + "[]," * 2_000_000 + "[]]", "over 1000000 lists and records"),
        (" " * (1 << 25) + "1", "over 33554432 bytes"),
        ("[1, 2]", "holds a list, not a record"),
        ('"text"', "holds a str, not a record"),
    ],
)
def test_what_is_refused_and_why(text: str | bytes, sentence: str) -> None:
    began = time.process_time()
    with pytest.raises(InputRejectedError, match=sentence) as error:
        json_record(text, source="x.json")
    assert "\n" not in str(error.value)
    assert time.process_time() - began < 2


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    """A pipe would be waited for, and a device has no end."""
    pipe = tmp_path / "pipe"

    os.mkfifo(pipe)
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_bytes(b"1" * 100)
    for name in ("pipe", "zero", "."):
        with pytest.raises(InputRejectedError, match="not a file"):
            read_json(tmp_path / name)
    with pytest.raises(InputRejectedError, match="more than the"):
        read_bytes(tmp_path / "large", largest=99)
    with pytest.raises(RecipeError, match="no such file"):
        read_json(tmp_path / "none")
