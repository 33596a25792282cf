"""Predict the latency of TFLite files on boards that are not there."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from compress.prediction.boards import Board, Calibration, calibrations, chosen
from compress.prediction.counting import Count, counted, lacking
from compress.prediction.cycles import OLDEST, Llvm, cycles, installed
from compress.prediction.laps import instructions
from compress.prediction.prediction import Prediction, Predictions, Share, Step
from runtime.artifact import Artifact
from runtime.contained import try_out
from runtime.errors import MissingDependencyError, RecipeError
from runtime.profiling import Voice
from runtime.session import open_session

_ITSELF: Final = "LiteRT itself"  # what it does between operators


def check_installed() -> None:
    """MissingDependencyError with everything that is missing, and how to get it."""
    packages = [*lacking(), *([] if installed() else [f"llvm-{OLDEST}"])]
    if packages:
        raise MissingDependencyError(
            f"predictions: need {', '.join(packages)}, not installed here; run: "
            f"apt-get install {' '.join(packages)}"
        )


def check_predictable(artifact: Artifact) -> None:
    """RecipeError for a file whose instructions are not counted."""
    if artifact.format != "tflite":
        raise RecipeError(
            f"{artifact.path}: predictions are of TFLite files in LiteRT; this is "
            f"{artifact.format}; export it with --to tflite"
        )


def predict_files(files: Sequence[Path], board: Board, console: Voice) -> Predictions:
    """Predict for each of `files`; all are read and checked before any is counted."""
    artifacts = [Artifact.read(path) for path in files]
    for artifact in artifacts:
        check_predictable(artifact)
    check_installed()
    for artifact in artifacts:
        try_out(artifact)
        # The emulated interpreter crashes where this one says what is wrong.
        open_session(artifact).close()
    return Predictions(
        predictions=tuple(predicted(each, board, console) for each in artifacts)
    )


def predicted(artifact: Artifact, board: Board, console: Voice) -> Prediction:
    """Predict what one inference takes on `board`, one thread.

    Raises what `counted` and `cycles` raise; `check_installed` and
    `check_predictable` are for before.
    """
    every = calibrations(board.name)
    llvm = chosen(installed(), every)
    if llvm is None:
        raise MissingDependencyError(
            f"predictions: need llvm-mca {OLDEST} or later, not installed here; run: "
            f"apt-get install llvm-{OLDEST}"
        )
    known = every.get(llvm.major) or every[max(every)]
    console.tell(
        f"{artifact.path.name}: counting instructions on an emulated {board.cpu}; "
        "10 s for a MobileNet on a quiet machine; the first time, an ARM Debian and "
        "LiteRT (150 MB) are fetched and unpacked into the cache"
    )
    count = counted(artifact.path, cpu=board.cpu)
    each = [count.whole, *(operator.runs for operator in count.operators)]
    took = cycles(each, core=board.core, llvm=llvm, form=known.form)
    ms_a_cycle = known.factor / (board.ghz * 1e6)
    return Prediction(
        file=artifact.path.name,
        artifact_sha256=artifact.sha256,
        board=board.name,
        core=board.cpu,
        ghz=board.ghz,
        runtime=count.runtime,
        llvm=llvm.version,
        instructions=count.instructions,
        cycles=round(took[0]),
        factor=known.factor,
        predicted_ms=took[0] * ms_a_cycle,
        error=known.error,
        worst=known.worst,
        by_operator=_shares(count, [cost * ms_a_cycle for cost in took]),
        operators=tuple(
            Step(
                operator=operator.name,
                instructions=instructions(operator.runs),
                predicted_ms=cost * ms_a_cycle,
            )
            for operator, cost in zip(count.operators, took[1:], strict=True)
        ),
        doubts=_doubts(known, count, llvm),
    )


def _shares(count: Count, took_ms: list[float]) -> tuple[Share, ...]:
    """Operators by kind, the dearest first, and what is none of them."""
    if not count.operators:
        return ()
    kinds: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for operator, ms in zip(count.operators, took_ms[1:], strict=True):
        kinds[operator.name].append((instructions(operator.runs), ms))
    shares = [
        Share(
            operator=name,
            times=len(costs),
            instructions=sum(number for number, _ in costs),
            predicted_ms=sum(ms for _, ms in costs),
        )
        for name, costs in kinds.items()
    ]
    itself = Share(
        operator=_ITSELF,
        times=1,
        instructions=count.instructions - sum(each.instructions for each in shares),
        predicted_ms=took_ms[0] - sum(took_ms[1:]),
    )
    return (*sorted(shares, key=lambda each: -each.predicted_ms), itself)


def _doubts(known: Calibration, count: Count, llvm: Llvm) -> tuple[str, ...]:
    """Why a prediction may be further off than others were."""
    found = []
    if llvm.major != known.llvm.partition(".")[0]:
        found.append(
            f"calibrated with LLVM {known.llvm}, this is {llvm.version}, whose models "
            "of cores may differ by 20 %"
        )
    if not count.runtime.endswith(known.litert):
        found.append(f"calibrated with LiteRT {known.litert}, not {count.runtime}")
    return tuple(found)
