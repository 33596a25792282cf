"""Text from elsewhere does not steer a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.printable import printable


@given(st.text(st.characters()))
def test_nothing_that_steers_is_left(text: str) -> None:
    """No control, no direction, no half of a character; UTF-8 takes what comes out."""
    shown = printable(text)

    kinds = {unicodedata.category(sign) for sign in shown.replace("\u200c", "")}
    assert kinds.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f") & set(
        shown
    )
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["resnet50", "Straße/猫 (ねこ).onnx", "سلام", "a_b|c"])
def test_ordinary_names_stay(text: str) -> None:
    assert printable(text) == text


def test_what_steers_is_spelled_out() -> None:
    assert printable("a\x1b[31mb\n\u202ec\udcff") == r"a\x1b[31mb\n\u202ec\udcff"
    assert printable("one\ntwo\r", lines=True) == "one\ntwo\\r"
