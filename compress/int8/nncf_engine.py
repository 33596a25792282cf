"""NNCF on a float ONNX file: its post-training quantisation, as a raw QDQ model."""

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from compress.int8.calibrate import Batches
from runtime.errors import InputRejectedError, MissingDependencyError, one_line


def nncf_quantised(source: Path, target: Path, images: Batches) -> None:
    """Quantise `source`, a float ONNX file of one image, into `target`.

    images: float32 [n, 3, size, size] batches, all of which NNCF looks at. The result
    has Q and DQ operators as NNCF places them, which no runtime is fast on yet: it is
    meant for `export.lower`.
    """
    try:
        with _silence():
            import nncf
            import onnx
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"--engine nncf: needs {error.name}, which is not installed; "
            "run: pip install 'edgepress[quantize]'"
        ) from error
    model = onnx.load(source)
    name = model.graph.input[0].name
    shown = list(
        itertools.chain.from_iterable(
            [{name: image[None].contiguous().numpy()} for image in batch]
            for batch in images()
        )
    )
    try:
        with _silence():
            made = nncf.quantize(
                model,
                nncf.Dataset(shown),
                subset_size=len(shown),
                preset=nncf.QuantizationPreset.MIXED,
            )
    except Exception as error:  # NNCF passes on whatever it meets
        raise InputRejectedError(
            f"--engine nncf: does not quantise {source.name}: {one_line(error)}; use "
            "--engine edgepress"
        ) from error
    del made.metadata_props[:]  # facts about the float file, which this one is not
    onnx.save(made, target)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep NNCF's logs, bars and warnings to itself; errors still raise."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
