"""What a report says of zeros and of split layers."""

import dataclasses
from pathlib import Path

import report_example

from compress.report import factorization, sparsity
from compress.report.report import Report


def example(**fields: object) -> Report:
    """The invented report, with these fields in place of its own."""
    report: Report = report_example.example(Path("run"))
    return dataclasses.replace(report, **fields)  # type: ignore[arg-type]


def sparse(pattern: str) -> Report:
    """A network of which one layer is dense."""
    return example(
        sparsity={
            "pattern": pattern,
            "weights": 1_000_000,
            "zeros": 800_000,
            "layers": [
                {"name": "stem", "masked": False, "weights": 1000, "zeros": 0},
                {"name": "body", "masked": True, "weights": 999_000, "zeros": 800_000},
            ],
        },
        artifacts=(
            {"path": "artifacts/a.onnx", "size_bytes": 4e6, "gzip_bytes": 3.7e6},
            {"path": "artifacts/b.onnx", "size_bytes": 4e6, "gzip_bytes": 1.1e6},
        ),
    )


def test_zeros_are_told_with_what_they_do_not_gain() -> None:
    """Share, place, what stays dense; packed sizes; no promise of speed."""
    words, told = zip(*sparsity.notes(sparse("unstructured")), strict=True)
    assert set(words) == {"zeros"}
    share, packed, latency = told
    assert share == "80.00 % of 1.00 M weights are zero (unstructured); dense: stem"
    assert "1.10 MB of the 4.00 MB of b.onnx" in packed
    assert latency.startswith("no gain in latency: ONNX Runtime and LiteRT multiply")
    assert "ms for " in latency


def test_only_2_to_4_has_a_runtime_to_name() -> None:
    assert "TensorRT" in [*sparsity.notes(sparse("2:4"))][-1][1]
    assert not any("TensorRT" in told for _, told in sparsity.notes(sparse("4:8")))


def test_a_report_without_them_says_nothing_of_them() -> None:
    assert [*sparsity.notes(example())] == []
    assert [*factorization.notes(example())] == []
    assert "weights are zero" not in example().as_text()


def test_split_layers_are_named_with_ranks_and_times() -> None:
    report = example(
        factorisation={
            "layers": [
                {"name": "a", "ranks": [8, 16], "ms_before": 2.0, "ms_after": 1.0},
                {"name": "b", "ranks": None, "reason": "rank 4 would save no weights"},
            ]
        }
    )
    split, left = (told for _, told in factorization.notes(report))
    assert split.startswith(
        "1 of 2 layers are products of thinner ones: a (rank 8 and 16"
    )
    assert left == "left whole: b (rank 4 would save no weights)"
    assert "ranks    1 of 2 layers are products" in report.as_text()


def test_both_records_survive_the_file(tmp_path: Path) -> None:
    report = dataclasses.replace(sparse("2:4"), factorisation={"layers": []})
    report.write(tmp_path)
    again = Report.read(tmp_path)
    assert again.sparsity == report.sparsity
    assert again.factorisation == report.factorisation
    assert "## INT8" not in again.as_markdown()
    assert "TensorRT has sparse kernels" in again.as_html()
