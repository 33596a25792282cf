"""What timing costs each inference: `runtime.timing.timed` against a bare loop.

The timed function does nothing, so all that a sample shows is the harness; the same
calls in a bare loop show what an untimed inference pays. A third column puts it beside
a real inference, the 25 million multiply-accumulates of a small linear net in numpy.

    .venv/bin/python benchmarks/harness_overhead.py
"""

import time

import numpy as np

from runtime.timing import timed

ROUNDS = 20_000
REPEATS = 7
ALLOWED_NS = 2_000


def nothing() -> None:
    """The cheapest inference there is."""


def loop_ns(rounds: int) -> float:
    """Nanoseconds a call of a loop that does not time."""
    start = time.perf_counter_ns()
    for _ in range(rounds):
        nothing()
    return (time.perf_counter_ns() - start) / rounds


def harness_ns(rounds: int) -> tuple[float, float]:
    """Nanoseconds a call: in the samples, and of the loop around them."""
    samples = np.zeros((1, rounds), np.int64)
    order = np.zeros((rounds, 1), np.int64)
    start = time.perf_counter_ns()
    timed([nothing], order, samples)
    whole = (time.perf_counter_ns() - start) / rounds
    return float(np.median(samples)), whole


def inference_ns() -> float:
    """Nanoseconds of a real, small inference."""
    rng = np.random.default_rng(0)
    image, weight = (
        rng.random((1, 5000), np.float32),
        rng.random((5000, 5000), np.float32),
    )
    samples = np.zeros((1, 50), np.int64)
    timed([lambda: image @ weight], np.zeros((50, 1), np.int64), samples)
    return float(np.median(samples))


def main() -> int:
    """Print the table; fail if a sample holds more of the harness than allowed."""
    bare = min(loop_ns(ROUNDS) for _ in range(REPEATS))
    pairs = [harness_ns(ROUNDS) for _ in range(REPEATS)]
    inside, whole = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    real = inference_ns()
    print(f"bare loop, a call                 {bare:9.0f} ns")
    print(f"in a sample of the harness        {inside:9.0f} ns")
    print(f"  of it overhead                  {inside - bare:9.0f} ns")
    print(f"harness, a call, sample kept      {whole:9.0f} ns")
    print(f"a 25-million-MAC inference        {real:9.0f} ns")
    print(f"overhead / that inference         {(inside - bare) / real:9.5%}")
    return 0 if inside - bare < ALLOWED_NS else 1


if __name__ == "__main__":
    raise SystemExit(main())
