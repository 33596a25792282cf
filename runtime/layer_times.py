"""Layers of a built engine: what was fused, in which numbers it computes, how long."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.printable import printable

_NAME = 46  # columns


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer of an engine: what TensorRT fused, in what it computes, how long.

    operator: TensorRT's kind of layer; reads, writes: formats with their numbers, such
    as `Int8 NC/32HW32`; average_ms of one inference; share: of all layers' time.
    """

    name: str
    operator: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tactic: str
    average_ms: float
    share: float

    @property
    def computes_in(self) -> str:
        """The numbers that it reads: int8, half, float, mixed; ? if nobody says."""
        kinds = {_kind(each) for each in self.reads}
        return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "?"


def layer_table(layers: Sequence[LayerTime], *, most: int = 30) -> str:
    """The slowest layers as lines of 80 columns, and what each kind of number takes."""
    lines = [f"{'layer':<48}{'ms':>9}{'share':>8}  numbers"]
    for each in sorted(layers, key=lambda one: -one.average_ms)[:most]:
        name = printable(each.name)
        name = name if len(name) <= _NAME else "…" + name[1 - _NAME :]
        lines.append(
            f"{name:<48}{each.average_ms:>9.4f}{each.share:>8.1%}  {each.computes_in}"
        )
    shares: dict[str, float] = {}
    for each in layers:
        shares[each.computes_in] = shares.get(each.computes_in, 0.0) + each.share
    told = (f"{kind} {share:.0%}" for kind, share in sorted(shares.items()))
    return "\n".join([*lines, f"{len(layers)} layers: {', '.join(told)} of the time"])


def _kind(described: str) -> str:
    """The kind of number of a format."""
    words = described.lower()
    for kind, names in (
        ("int8", ("int8",)),
        ("half", ("half", "fp16", "float16")),
        ("float", ("float", "fp32")),
        ("int32", ("int32",)),
    ):
        if any(name in words for name in names):
            return kind
    return described or "?"
