"""What zeros among the weights are worth, as a report tells it, in sentences."""

from collections.abc import Iterator

from compress.context.records import Record, each, number, text
from compress.report import units
from compress.report.columns import cut
from compress.report.int8_tables import LETTERS, listed
from compress.report.record import RunRecord


def notes(report: RunRecord) -> Iterator[tuple[str, str]]:
    """A word and a sentence each; nothing where no stage made weights zero."""
    record = report.sparsity
    weights, zeros = number(record, "weights"), number(record, "zeros")
    if not weights or zeros is None:
        return
    told = (
        f"{units.percent(zeros / weights)} of {units.count(weights)} weights are zero "
        f"({text(record, 'pattern')})"
    )
    dense = [
        cut(text(layer, "name"), LETTERS)
        for layer in each(record, "layers")
        if layer.get("masked") is not True
    ]
    yield "zeros", f"{told}; dense: {listed(dense)}" if dense else told
    if packed := "; ".join(filter(None, map(_packed, report.artifacts))):
        yield "zeros", f"gzip makes {packed}"
    latencies = ", ".join(
        f"{units.milliseconds(number(measured, 'p50_ms'))} for {text(measured, 'path')}"
        for measured in report.measurements
    )
    told = (
        "no gain in latency: ONNX Runtime and LiteRT multiply by zeros as by any other "
        "number; a sparse file is smaller once it is packed"
    )
    yield "zeros", f"{told}; measured: {latencies}" if latencies else told
    if text(record, "pattern") == "2:4":
        told = (
            "TensorRT has sparse kernels for 2:4, on GPUs since Ampere; they were not "
            "measured here"
        )
        yield "zeros", told


def _packed(artifact: Record) -> str:
    """What gzip makes of a file."""
    size, packed = number(artifact, "size_bytes"), number(artifact, "gzip_bytes")
    if size is None or packed is None:
        return ""
    name = text(artifact, "path").rpartition("/")[2]
    return f"{units.size(packed)} of the {units.size(size)} of {name}"
