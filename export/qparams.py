"""Quantization parameters of a tensor: scale and zero point, int8, per tensor."""

from typing import Final, NamedTuple

LOW: Final = -128
HIGH: Final = 127


class Grid(NamedTuple):
    """real = scale * (integer - zero_point), integer in [-128, 127]; per tensor."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """The least real number on the grid."""
        return self.scale * (LOW - self.zero_point)

    @property
    def high(self) -> float:
        """The greatest real number on the grid."""
        return self.scale * (HIGH - self.zero_point)
