"""Peaks of this machine: matrix products in float and INT8, and memory bandwidth.

Measured in the session whose files are held against them, since a machine's clock, its
neighbors and its interpreter are those of that moment.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from runtime import sysfs
from runtime.errors import MissingDependencyError
from runtime.onnx_writing import matrix_product
from runtime.tflite_writing import fully_connected
from runtime.timing import Call
from runtime.typed import Between

_Rate = Annotated[float, Between(0, 1e9)]
# Matrices that fill a level-2 cache and no more, so that arithmetic is what limits.
_SIDE: Final = 512
# STREAM wants arrays of four times the last-level cache or more (McCalpin 1995); a
# board with 512 MB of memory has to hold two of them.
_TIMES_THE_CACHE: Final = 8
_ARRAY_BYTES: Final = (32 << 20, 128 << 20)
_SECONDS: Final = 0.4
_LEAST: Final = 5

Matrix = npt.NDArray[np.generic]
_Maker = tuple[str, Callable[[Matrix], Call]]  # a name; a product, ready to run


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
    """Measure them, `seconds` each; two or three seconds in all.

    Of what is installed the fastest counts; numpy multiplies floats on one thread.
    """
    makers = [
        make(threads)
        for make in (_onnxruntime, _litert)
        if _installed(make, threads=threads)
    ]
    rng = np.random.default_rng(0)
    side = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
    small = rng.integers(-127, 128, (_SIDE, _SIDE), np.int8)
    floats = {name: _gmacs(product(side), seconds) for name, product in makers}
    int8s = {name: _gmacs(product(small), seconds) for name, product in makers}
    if threads == 1 or not floats:
        out = np.empty_like(side)
        floats["numpy"] = _gmacs(lambda: np.matmul(side, side, out=out), seconds)
    best, fast = max(floats, key=floats.__getitem__), None
    if int8s:
        fast = max(int8s, key=int8s.__getitem__)
    return Peaks(
        threads=threads,
        float_gmacs=floats[best],
        float_by=best,
        int8_gmacs=int8s[fast] if fast else None,
        int8_by=fast or "no interpreter is installed",
        gbs=bandwidth_gbs(threads=threads, seconds=seconds),
        cache_bytes=last_level_cache_bytes(),
    )


def bandwidth_gbs(*, threads: int, seconds: float = _SECONDS) -> float:
    """Copying large arrays, `threads` at once: bytes read and bytes written.

    numpy lets the interpreter's lock go while it copies.
    """
    least, most = _ARRAY_BYTES
    wanted = _TIMES_THE_CACHE * (last_level_cache_bytes() or most)
    share = min(max(least, wanted), most) // threads
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


def _installed(make: Callable[[int], _Maker], *, threads: int) -> bool:
    """Whether an interpreter is there."""
    try:
        make(threads)
    except MissingDependencyError:
        return False
    return True


def _onnxruntime(threads: int) -> _Maker:
    """Its name, and what makes a square product in it ready to run."""
    from runtime.backends.ort import imported

    onnxruntime = imported("roofline")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def product(right: Matrix) -> Call:
        whole = right.dtype.kind == "i"
        # Unsigned activations are what its x86 kernels are made for.
        left = np.abs(right).astype(np.uint8) if whole else right
        operator = "MatMulInteger" if whole else "MatMul"
        model = matrix_product(operator, left.dtype, right, len(left))
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, {"x": left})

    return f"onnxruntime {onnxruntime.__version__}", product


def _litert(threads: int) -> _Maker:
    """The same, of LiteRT: a fully connected layer in XNNPACK."""
    from runtime.backends.litert import imported
    from runtime.quiet import quiet

    interpreter, name = imported(Path("roofline"))

    def product(right: Matrix) -> Call:
        model = fully_connected(right, rows=len(right), scale=float(_SIDE * 127))
        with quiet(2):  # it announces its delegate
            loaded = interpreter(  # type: ignore[operator]
                model_content=model, num_threads=threads
            )
            loaded.allocate_tensors()
        loaded.set_tensor(loaded.get_input_details()[0]["index"], right)
        invoke: Call = loaded.invoke
        return invoke

    return name, product


def _gmacs(call: Call, seconds: float) -> float:
    """10^9 multiply-accumulates a second of one product."""
    return _SIDE**3 / _best_s(call, seconds) / 1e9


def _best_s(call: Call, seconds: float) -> float:
    """The shortest of that time's calls: a peak is what undisturbed work reaches."""
    call()
    best, calls, began = float("inf"), 0, time.perf_counter()
    while calls < _LEAST or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best
