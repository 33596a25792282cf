"""Numbers as people read them; every width fits the columns of a report."""

from typing import Final

_STEPS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
NOTHING: Final = "-"


def three_digits(value: float) -> str:
    """Three significant digits, never in exponents: 0.123, 1.23, 12.3, 123, 1234."""
    size = abs(value)
    for limit, digits in ((0.9995, 3), (9.995, 2), (99.95, 1)):
        if size < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def count(value: float | None) -> str:
    """A number of things: 812, 4.21 M, 1.31 G."""
    if value is None:
        return NOTHING
    for step, letter in _STEPS:
        # 999.5 of a thing would be written as 1000 of it.
        if abs(value) >= 0.9995 * step:
            return f"{three_digits(value / step)} {letter}"
    return f"{value:.0f}"


def size(count_bytes: float | None) -> str:
    """A number of bytes; 1 MB is 10^6 bytes."""
    if count_bytes is None:
        return NOTHING
    text = count(count_bytes)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def percent(fraction: float | None) -> str:
    """A fraction: 97.50 %."""
    return NOTHING if fraction is None else f"{fraction * 100:.2f} %"


def spread(interval: tuple[float, float] | None) -> str:
    """An interval of a fraction: 95.4 to 98.7 %."""
    if interval is None:
        return NOTHING
    return f"{interval[0] * 100:.1f} to {interval[1] * 100:.1f} %"


def points(difference: float | None) -> str:
    """A difference of two fractions: -1.11 pt (percentage points)."""
    return NOTHING if difference is None else f"{difference * 100:+.2f} pt"


def milliseconds(value: float | None) -> str:
    """A latency: 25.3 ms."""
    return NOTHING if value is None else f"{three_digits(value)} ms"


def times(ratio: float | None) -> str:
    """A ratio: 5.6x."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.0f}x" if ratio >= 99.95 else f"{ratio:.{_decimals(ratio)}f}x"  # noqa: PLR2004  # 4 columns


def _decimals(ratio: float) -> int:
    """Two digits below ten, where the second one matters; one from there on."""
    return 2 if ratio < 9.995 else 1  # noqa: PLR2004  # 9.995 is written as 10.0


def seconds(value: float | None) -> str:
    """A duration: 41 s, 3 min 20 s, 2 h 05 min."""
    if value is None:
        return NOTHING
    whole = round(value)
    if whole < 60:  # noqa: PLR2004  # a minute
        return f"{value:.1f} s" if value < 9.95 else f"{whole} s"  # noqa: PLR2004  # 10
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004  # an hour
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
