"""NNCF on a float ONNX file: its post-training quantization, as a raw QDQ model."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from compress.quantization.calibrate import Batches
from runtime.backends.ort import imported
from runtime.errors import InputRejectedError, MissingDependencyError, one_line
from runtime.quiet import silence
from runtime.requirements import pip_line

if TYPE_CHECKING:
    import onnx

Pixels = npt.NDArray[np.float32]
# Images [1, 3, size, size], each with the class that it should be given.
Judged = Callable[[], Iterable[tuple[Pixels, int]]]


class Control(NamedTuple):
    """NNCF's accuracy control: what to judge by, and the share that may be lost."""

    judged: Judged
    allowed: float


def nncf_quantized(
    source: Path, target: Path, images: Batches, *, control: Control | None = None
) -> None:
    """Quantize `source`, a float ONNX file of one image, into `target`.

    images: float32 [n, 3, size, size] batches, all of which NNCF looks at. With
    `control` it puts operators back in float, the most harmful first, until no more
    than allowed is lost; if nothing is left in INT8 then, it is an
    InputRejectedError. The result has Q and DQ operators as NNCF
    places them, which no runtime is fast on yet: it is meant for `export.onnx.lower`.
    """
    try:
        with silence():
            import nncf
            import onnx
            from nncf.quantization.advanced_parameters import QuantizationParameters
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"--engine nncf: needs {error.name}, which is not installed; "
            f"run: {pip_line('quantize')}"
        ) from error
    model = onnx.load(source)
    name = model.graph.input[0].name
    shown = [
        {name: image[None].contiguous().numpy()}
        for batch in images()
        for image in batch
    ]
    calibration = nncf.Dataset(shown)
    preset = nncf.QuantizationPreset.MIXED
    # By default inputs of depthwise convolutions get a grid for each channel, which no
    # runtime has a kernel for.
    per_tensor = nncf.AdvancedQuantizationParameters(
        activations_quantization_params=QuantizationParameters(per_channel=False)
    )
    one_process = nncf.AdvancedAccuracyRestorerParameters(num_ranking_workers=1)
    try:
        with silence():
            if control is None:
                made = nncf.quantize(
                    model,
                    calibration,
                    subset_size=len(shown),
                    preset=preset,
                    advanced_parameters=per_tensor,
                )
            else:
                made = nncf.quantize_with_accuracy_control(
                    model,
                    calibration,
                    nncf.Dataset(_Items(control.judged), lambda item: {name: item[0]}),
                    _validated,
                    max_drop=control.allowed,
                    subset_size=len(shown),
                    preset=preset,
                    advanced_quantization_parameters=per_tensor,
                    advanced_accuracy_restorer_parameters=one_process,
                )
    except Exception as error:  # NNCF passes on whatever it meets
        raise InputRejectedError(
            f"--engine nncf: does not quantize {source.name}: {one_line(error)}; use "
            "--engine edgepress"
        ) from error
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise InputRejectedError(
            f"--engine nncf: nothing of {source.name} stays in INT8 within the limit; "
            "allow more, or use --engine edgepress"
        )
    del made.metadata_props[:]  # facts about the float file, which this one is not
    onnx.save(made, target)


class _Items:
    """Judged images, as often as NNCF goes through them; none are kept."""

    def __init__(self, judged: Judged) -> None:
        """Begin anew each time."""
        self.judged = judged

    def __iter__(self) -> Iterator[tuple[Pixels, int]]:
        """An image and its class at a time."""
        return iter(self.judged())


def _validated(
    model: "onnx.ModelProto", items: Iterable[tuple[Pixels, int]]
) -> tuple[float, list[float]]:
    """The share of right answers, and which were: NNCF ranks operators by those.

    It could rank by the answers' noise, which is finer, but not for ONNX.
    """
    onnxruntime = imported("--engine nncf")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0].name
    hits = [
        float(session.run(None, {source: image})[0].argmax() == right)
        for image, right in items
    ]
    return sum(hits) / len(hits), hits
