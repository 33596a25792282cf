"""Peaks of this machine: matrix products in float and INT8, and memory bandwidth.

Measured in the session whose files are held against them, since a machine's clock, its
neighbours and its interpreter are those of that moment.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np

from runtime import sysfs
from runtime.errors import MissingDependencyError
from runtime.onnx_writing import matrix_product
from runtime.typed import Between

_Rate = Annotated[float, Between(0, 1e9)]
# Matrices that fill a level-2 cache and no more, so that arithmetic is what limits.
_SIDE: Final = 512
# Arrays far beyond any last-level cache of a board or a workstation's share of one
# (STREAM wants four times the cache; McCalpin 1995).
_ARRAY_BYTES: Final = 128 << 20
_SECONDS: Final = 0.5
_LEAST: Final = 5


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What this machine does at its best with `threads` threads; None: not measured.

    gmacs: 10^9 multiply-accumulates a second; gbs: 10^9 bytes a second, read and
    written; float_by, int8_by: what multiplied; cache_bytes: the last-level cache.
    """

    threads: Annotated[int, Between(1, 1024)]
    float_gmacs: _Rate
    float_by: str
    int8_gmacs: _Rate | None
    int8_by: str
    gbs: _Rate
    cache_bytes: Annotated[int, Between(0, 2**50)] | None = None

    def as_text(self) -> str:
        """One sentence."""
        int8 = (
            f"INT8 unknown ({self.int8_by})"
            if self.int8_gmacs is None
            else f"INT8 {self.int8_gmacs:.1f} GMAC/s ({self.int8_by})"
        )
        return (
            f"peaks with {self.threads} thread{'s' * (self.threads != 1)}: float "
            f"{self.float_gmacs:.1f} GMAC/s ({self.float_by}), {int8}, memory "
            f"{self.gbs:.1f} GB/s"
        )


def measure_peaks(*, threads: int, seconds: float = _SECONDS) -> Peaks:
    """Measure them, `seconds` each; about two seconds in all.

    Float is the better of ONNX Runtime and, on one thread, numpy.
    """
    rng = np.random.default_rng(0)
    found = {"numpy": _numpy_gmacs(rng, seconds)} if threads == 1 else {}
    int8, int8_by = None, "ONNX Runtime is not installed"
    try:
        name, product = _onnxruntime(threads)
    except MissingDependencyError:
        found = found or {"numpy": _numpy_gmacs(rng, seconds)}
    else:
        right = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        found[name] = _gmacs(product("MatMul", right, right), seconds)
        weight = rng.integers(-127, 128, (_SIDE, _SIDE), np.int8)
        left = rng.integers(0, 256, (_SIDE, _SIDE), np.uint8)
        int8 = _gmacs(product("MatMulInteger", left, weight), seconds)
        int8_by = f"{name}, uint8 x int8"
    best = max(found, key=lambda each: found[each])
    return Peaks(
        threads=threads,
        float_gmacs=found[best],
        float_by=best,
        int8_gmacs=int8,
        int8_by=int8_by,
        gbs=bandwidth_gbs(threads=threads, seconds=seconds),
        cache_bytes=last_level_cache_bytes(),
    )


def bandwidth_gbs(*, threads: int, seconds: float = _SECONDS) -> float:
    """Copying large arrays, `threads` at once: bytes read and bytes written.

    numpy lets the interpreter's lock go while it copies.
    """
    share = _ARRAY_BYTES // threads
    pairs = [
        (np.ones(share, np.uint8), np.empty(share, np.uint8)) for _ in range(threads)
    ]
    with ThreadPoolExecutor(threads) as pool:
        best_s = _best_s(
            lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)),
            seconds,
        )
    return 2 * share * threads / best_s / 1e9


def last_level_cache_bytes(root: Path = Path("/")) -> int | None:
    """The largest cache that core 0 sees; sysfs writes `32768K`."""
    sizes = [
        int(text[:-1]) * 1024
        for path in sysfs.matches(root, "sys/devices/system/cpu/cpu0/cache/index*/size")
        if (text := sysfs.text(path) or "").endswith("K") and text[:-1].isdigit()
    ]
    return max(sizes, default=None)


def _numpy_gmacs(rng: np.random.Generator, seconds: float) -> float:
    """A float32 product in numpy, with as many threads as its BLAS takes."""
    side = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
    out = np.empty_like(side)
    return _gmacs(lambda: np.matmul(side, side, out=out), seconds)


def _onnxruntime(
    threads: int,
) -> tuple[str, Callable[[str, np.ndarray, np.ndarray], Callable[[], object]]]:
    """Its name, and what makes a product of two matrices ready to run."""
    from runtime.backends.ort import imported

    onnxruntime = imported("roofline")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def product(
        operator: str, left: np.ndarray, right: np.ndarray
    ) -> Callable[[], object]:
        model = matrix_product(operator, left.dtype, right, len(left))
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, {"x": left})

    return f"onnxruntime {onnxruntime.__version__}", product


def _gmacs(call: Callable[[], object], seconds: float) -> float:
    """10^9 multiply-accumulates a second of one product."""
    return _SIDE**3 / _best_s(call, seconds) / 1e9


def _best_s(call: Callable[[], object], seconds: float) -> float:
    """The shortest of that time's calls: a peak is what undisturbed work reaches."""
    call()
    best, calls, began = float("inf"), 0, time.perf_counter()
    while calls < _LEAST or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best
