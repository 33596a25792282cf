"""Sizes, times and shares as people write them, against arithmetic by hand."""

import re
from fractions import Fraction

import pytest

from runtime.units import SHARE, SHARE_OR_COUNT, SIZE_BYTES, SIZE_MB, TIME_MS, Quantity

# A text, what it is read as, and the same by hand.
READ = [
    (SIZE_BYTES, "2000000", 2_000_000),
    (SIZE_BYTES, "2e6", 2_000_000),
    (SIZE_BYTES, "2MB", 2 * 10**6),
    (SIZE_BYTES, "2 mb", 2 * 10**6),
    (SIZE_BYTES, "2MiB", 2 * 1024**2),
    (SIZE_BYTES, "500kB", 500_000),
    (SIZE_BYTES, "500KB", 500_000),
    (SIZE_BYTES, "0.5 KiB", 512),
    (SIZE_BYTES, "1.1GB", 1_100_000_000),
    (SIZE_BYTES, "7B", 7),
    (SIZE_MB, "2", 2),
    (SIZE_MB, "500kB", Fraction(1, 2)),
    (SIZE_MB, "1MiB", Fraction(1024**2, 10**6)),
    (TIME_MS, "15", 15),
    (TIME_MS, "15ms", 15),
    (TIME_MS, "1.5s", 1500),
    (TIME_MS, "800us", Fraction(8, 10)),
    (SHARE, "0.02", Fraction(2, 100)),
    (SHARE, ".5", Fraction(1, 2)),
    (SHARE, "2%", Fraction(2, 100)),
    (SHARE, "2.2 %", Fraction(22, 1000)),
    (SHARE, "-1%", Fraction(-1, 100)),
    (SHARE_OR_COUNT, "50%", Fraction(1, 2)),
    (SHARE_OR_COUNT, "0.5", Fraction(1, 2)),
    (SHARE_OR_COUNT, "5M", 5 * 10**6),
    (SHARE_OR_COUNT, "1.2G", 1_200_000_000),
    (SHARE_OR_COUNT, "300k", 300_000),
]
REFUSED = [
    (SIZE_BYTES, "2 parsecs", "should be a size: bytes, or a number with B, kB, KiB"),
    (SIZE_BYTES, "2%", "should be a size"),
    (SIZE_BYTES, "", "should be a size"),
    (SIZE_BYTES, "MB", "should be a size"),
    (SIZE_BYTES, "2,5MB", "should be a size"),
    (SIZE_BYTES, "2M", "should be a size"),  # 10^6 or 2^20: nobody knows
    (SIZE_MB, "2ms", "should be a size: 10^6 bytes, or a number with"),
    (TIME_MS, "2MB", "should be a time: milliseconds, or a number with us, ms or s"),
    (TIME_MS, "nan", "should be a time"),
    (TIME_MS, "1e999", "should be a time"),
    (SHARE, "2ms", "should be a share: a fraction, or a number with %"),
    (SHARE, "two", "should be a share"),
    (SHARE_OR_COUNT, "5MB", "a share or a count: a fraction, or a number with %, k, M"),
]


@pytest.mark.parametrize(("unit", "text", "value"), READ)
def test_a_quantity_is_what_it_says(unit: Quantity, text: str, value: Fraction) -> None:
    """To the last bit: the nearest float to the exact number."""
    assert unit.number(text) == float(value)
    assert unit.number(f"  {text} ") == float(value)
    assert re.search(unit.pattern, text)


def test_bytes_are_whole() -> None:
    assert isinstance(SIZE_BYTES.number("1.5kB"), int)


@pytest.mark.parametrize(("unit", "text", "sentence"), REFUSED)
def test_another_unit_is_told_what_is_allowed(
    unit: Quantity, text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        unit.number(text)
    assert not re.search(unit.pattern, text)
