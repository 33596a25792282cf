"""Per-layer profile: which operators take the time, in which numbers they compute.

Quantizing, dequantizing, transposing and reordering compute nothing of a network; what
they take is the layout tax.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from runtime.errors import Exit
from runtime.printable import printable

# As ONNX Runtime and TFLite call operators that only move or convert numbers.
TAX: Final = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"),
        *("Transpose", "ReorderInput", "ReorderOutput"),
        *("MemcpyToHost", "MemcpyFromHost"),
        *("QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE"),
    }
)
_SHOWN: Final = 12  # layers in the text; JSON has all
_NAME: Final = 38


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator as the runtime executed it.

    dtype: of what it computes with, its first input; ms: of one inference.
    """

    name: str
    operator: str
    dtype: str
    ms: float

    @property
    def is_tax(self) -> bool:
        """Whether it computes nothing, but moves or converts numbers."""
        return self.operator in TAX


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The layers of one file in the order in which they ran, and how they were timed.

    whole_ms: the fastest inference without anything timed within it.
    """

    file: str
    runtime: str
    threads: int
    how: str
    whole_ms: float
    layers: tuple[Layer, ...]

    @property
    def sum_ms(self) -> float:
        """All layers together."""
        return sum(each.ms for each in self.layers)

    @property
    def tax_ms(self) -> float:
        """What only moves or converts numbers."""
        return sum(each.ms for each in self.layers if each.is_tax)

    def share(self, ms: float) -> float:
        """Of all layers together; a fraction."""
        return ms / self.sum_ms if self.sum_ms else 0.0

    def by_operator(self) -> list[tuple[str, str, int, float]]:
        """Operator, dtype, how many, and their ms; what takes most comes first."""
        found: dict[tuple[str, str], list[float]] = {}
        for each in self.layers:
            found.setdefault((each.operator, each.dtype), []).append(each.ms)
        rows = [(*key, len(ms), sum(ms)) for key, ms in found.items()]
        return sorted(rows, key=lambda row: -row[3])

    def as_record(self) -> dict[str, object]:
        """Plain data."""
        return {
            "file": self.file,
            "runtime": self.runtime,
            "threads": self.threads,
            "how": self.how,
            "whole_ms": self.whole_ms,
            "sum_ms": self.sum_ms,
            "layout_tax": self.share(self.tax_ms),
            "layers": [
                {**asdict(each), "share": self.share(each.ms), "tax": each.is_tax}
                for each in self.layers
            ],
            "operators": [
                {
                    "operator": operator,
                    "dtype": dtype,
                    "count": count,
                    "ms": ms,
                    "share": self.share(ms),
                }
                for operator, dtype, count, ms in self.by_operator()
            ],
        }

    def as_text(self) -> str:
        """Operators, then the layers that take most; 80 columns."""
        head = f"{'operator':<{_NAME}}{'dtype':>10}{'count':>7}{'ms':>9}{'share':>10}"
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        lines = [
            f"{printable(self.file)}: {len(self.layers)} layers",
            f"  {self.runtime}, {threads}, {self.how}",
            head,
            "-" * len(head),
        ]
        for operator, dtype, count, ms in self.by_operator():
            mark = " *" if operator in TAX else ""
            name = f"{printable(operator)}{mark}"
            lines.append(
                f"{name:<{_NAME}}{dtype:>10}{count:>7}{ms:>9.3f}"
                f"{self.share(ms) * 100:>8.1f} %"
            )
        slowest = sorted(self.layers, key=lambda each: -each.ms)[:_SHOWN]
        lines += ["", f"the {len(slowest)} layers that take most"]
        for each in slowest:
            name = f"{printable(each.operator)} {printable(each.name)}"
            short = name if len(name) <= 52 else f"{name[:25]}…{name[-26:]}"  # noqa: PLR2004  # columns
            lines.append(
                f"  {short:<52}{each.dtype:>7}{each.ms:>9.3f}"
                f"{self.share(each.ms) * 100:>8.1f} %"
            )
        tax = f"{self.tax_ms:.3f} ms, {self.share(self.tax_ms) * 100:.1f} %"
        alone = f"the fastest inference, nothing timed within: {self.whole_ms:.3f} ms"
        lines += [
            "",
            f"* the layout tax, which computes nothing: {tax}",
            f"all layers {self.sum_ms:.3f} ms; {alone}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The answer of `--layers`."""

    files: tuple[LayerProfile, ...]
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{profiles[{file, layers[…], operators[…], layout_tax, …}]}."""
        record = {"profiles": [each.as_record() for each in self.files]}
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """One after the other."""
        return "\n\n".join(each.as_text() for each in self.files)


def profile_layers(
    files: Sequence[Path],
    *,
    threads: Sequence[int] = (1,),
    runtime: str | None = None,
    seed: int = 0,
) -> Layers:
    """Time the layers of each file, with each number of threads.

    A runtime that does not tell layers apart is a RecipeError; otherwise what
    `Artifact.read` and `open_session` raise.
    """
    import numpy as np

    from runtime.artifact import Artifact
    from runtime.backends.table import backend_for
    from runtime.contained import try_out

    artifacts = [Artifact.read(path) for path in files]
    for artifact in artifacts:
        try_out(artifact)
    return Layers(
        files=tuple(
            backend_for(artifact, runtime).layer_times(
                artifact, threads=count, rng=np.random.default_rng(seed)
            )
            for artifact in artifacts
            for count in threads
        )
    )
