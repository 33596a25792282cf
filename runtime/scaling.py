"""Thread scaling: how much faster a file is with more threads, as sentences."""

from collections.abc import Iterator, Sequence

from runtime.measurement import Measurement


def scaling(measurements: Sequence[Measurement]) -> Iterator[str]:
    """A sentence for each file that was measured with several numbers of threads."""
    for file in dict.fromkeys(each.file for each in measurements):
        times = {
            each.threads: each.p50.value
            for each in measurements
            if each.file == file and each.p50 is not None
        }
        if len(times) > 1:
            (few, start), *rest = sorted(times.items())
            more = ", ".join(
                f"{threads} are {start / took:.2f}x as fast" for threads, took in rest
            )
            yield f"{file}: against {few} thread{'s' * (few != 1)}, {more}."
