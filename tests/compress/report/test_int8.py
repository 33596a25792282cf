"""What a report says of INT8: the ladder, the noise, the floats, the advice."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import report_example

from compress.report.int8 import notes
from compress.report.report import Report

FLOAT = "artifacts/start-mobilenetv2_100.onnx"
INT8 = "artifacts/model-mobilenetv2_100-int8-x86-vnni.onnx"
ARM = "artifacts/model-mobilenetv2_100-int8-arm64.onnx"
JETSON = "artifacts/model-mobilenetv2_100-int8-jetson.onnx"
LITE = "artifacts/model-mobilenetv2_100-int8.tflite"
NOISY = {40: 21.4, 0: 26.3, 41: 18.2, 6: 19.9, 57: 24.0}  # dB, by place in the graph

TABLE = """\
ladder                              top-1    lost  changed     SQNR  time  holds
────────────────────────────────────────────────────────────────────────────────
default                           70.39 %  1.16 %   2.31 %  20.9 dB  41 s     no
equalisation                            -  1.45 %   2.90 %  20.8 dB  41 s     no
some operators in float           70.70 %  0.84 %   1.69 %  20.9 dB  41 s    yes
────────────────────────────────────────────────────────────────────────────────
default: blames features_15_conv_1_2, features_2_conv_1_2, features_14_conv_1_2,
features_17_conv_1_2, features_3_conv_1_2 and 2 more
some operators in float: leaves features_15_conv_1_2, features_2_conv_1_2 in
float

proof """
NOTES = """\
int8     1.69 % of 650 answers changed against float32, SQNR 21.6 dB
         noisiest tensor: features_13_conv_2_2 (18.2 dB); the first below 20 dB:
         features_2_conv_0_2 (19.9 dB)
         model-mobilenetv2_100-int8-x86-vnni.onnx: 99.68 % of the
         multiply-accumulates in INT8; 6 nodes in float (float up to cut 3):
         2.83 ms, 1.44x as fast as float32, all in INT8 1.33x
         model-mobilenetv2_100-int8-arm64.onnx: 99.68 % of the
         multiply-accumulates in INT8
         model-mobilenetv2_100-int8.tflite: 99.68 % of the multiply-accumulates
         in INT8
float    norm_7 (layer_norm, 0.28 % of the MACs), norm_6 (layer_norm, 0.24 % of
         the MACs), norm_5 (layer_norm, 0.20 % of the MACs), norm_4 (layer_norm,
         0.16 % of the MACs), norm_3 (layer_norm, 0.12 % of the MACs) and 3 more
latency """
MARKDOWN = """\
## INT8
| int8 | 71.08 % | 1.69 % | 21.6 dB | 650 |
| some operators in float | 70.70 % | 0.84 % | 1.69 % | 20.9 dB | 41 s | yes |
- some operators in float: leaves features_15_conv_1_2, features_2_conv_1_2 in float
| features_13_conv_2_2 | conv2d | -2.50 to 44.2 | -2.75 to 45.5 | 0.12 % | 18.2 dB |
| norm_7 | layer_norm | 0.28 % |
- and 3 more
| model-mobilenetv2_100-int8-arm64.onnx | int8 | arm64 | 99.68 % | 100.00 % | 360 | 121.4 dB |
- model-mobilenetv2_100-int8-x86-vnni.onnx: 6 nodes in float (float up to cut 3): 2.83 ms, 1.44x as fast as float32, all in INT8 1.33x
"""  # noqa: E501  # a Markdown table has lines as long as its cells


def tensors() -> list[dict[str, object]]:
    """One entry of `operators` for each tensor of an invented network."""
    return [
        {
            "name": f"features_{place // 3}_conv_{place % 3}_2",
            "operator": "conv2d",
            "low": -2.5,
            "high": 3.25 + place,
            "seen_low": -2.75,
            "seen_high": 4.5 + place,
            "clipped": 0.00125,
            "sqnr_db": NOISY.get(place, 30.0 + place % 7),
        }
        for place in range(60)
    ]


def rung(name: str, flips: float, *, holds: bool, **more: object) -> dict[str, object]:
    """One entry of `rungs`."""
    return {
        "name": name, "accuracy": 0.7154 - flips / 2, "flips": flips,
        "sqnr_db": 21.1 - 10 * flips, "drop": flips / 2, "seconds": 41.2,
        "blames": [], "left_float": [], "holds": holds, **more,
    }  # fmt: skip


def quantisation() -> dict[str, object]:
    """What a stage that quantised wrote down."""
    blamed = [f"features_{place}_conv_1_2" for place in (15, 2, 14, 17, 3, 4, 5)]
    float32 = {"accuracy": 0.7154, "agreement": 1.0, "sqnr_db": None, "flips": 0.0}
    int8 = {"accuracy": 0.7108, "agreement": 0.9831, "sqnr_db": 21.6, "flips": 0.0169}
    return {
        "float32": {**float32, "images": 650},
        "int8": {**int8, "images": 650},
        "rungs": [
            rung("default", 0.0231, holds=False, blames=blamed),
            rung("equalisation", 0.0290, holds=False, accuracy=None),
            rung("some operators in float", 0.0169, holds=True, left_float=blamed[:2]),
        ],
        "operators": tensors(),
        "float_operators": [
            {"name": f"norm_{n}", "operator": "layer_norm", "macs_share": 0.0004 * n}
            for n in range(8)
        ],
    }


def artifact(role: str, path: str, target: str | None, **more: object) -> object:
    """One entry of `artifacts`."""
    small = "int8" in path
    return {
        **report_example.artifact(role, path, 3_600_000 if small else 14_000_000, 0.71),
        "dtype": "int8" if small else "float32",
        "format": path.rpartition(".")[2],
        "target": target,
        "int8_macs_fraction": 0.9968 if small else 0.0,
        "placement": None,
        **more,
    }


def placement() -> dict[str, object]:
    """Why a part of a file is float, as `export/placement.py` puts it."""
    tried = (
        ("float up to cut 3", 6, 2.83, 1.44),
        ("all in INT8", 0, 3.05, 1.33),
        ("gates in float", 2, 3.2, 1.27),
        ("all in float", 0, 4.07, 1.0),
    )
    return {
        "left_float": [f"features_{place}_0_0" for place in range(6)],
        "float_operators": 6,
        "float_wins": False,
        "measured": True,
        "candidates": [
            {"name": name, "float_operators": n, "latency_ms": ms, "ratio": ratio}
            for name, n, ms, ratio in tried
        ],
    }


def example(folder: str | Path = "runs/int8", **changes: object) -> Report:
    """An invented run that quantised, with changes."""
    name = "mobilenetv2_100"
    advice = (
        "model-mobilenetv2_100-int8.tflite is slower than start-mobilenetv2_100.onnx "
        "on this machine (at least 1.20x the time); ship the float one here"
    )
    report: Report = dataclasses.replace(
        report_example.example(Path(folder)),
        name="quantize-mobilenetv2_100",
        rows=(
            report_example.row("start", name, 0.7154, heavy=False),
            {
                **report_example.row("ptq", name, 0.7108, heavy=False),
                "size_bytes": 4_500_000,
            },
        ),
        artifacts=(
            artifact("start", FLOAT, None),
            artifact("model", INT8, "x86-vnni", placement=placement()),
            artifact("model", ARM, "arm64"),
            artifact("model", LITE, None),
        ),
        measurements=(
            report_example.measurement("start", FLOAT, about_ms=4.02, seed=1),
            report_example.measurement("model", INT8, about_ms=2.11, seed=2),
            report_example.measurement("model", LITE, about_ms=4.9, seed=3),
        ),
        comparisons=(),
        curves=(),
        quantisation=quantisation(),
        advice=(advice,),
        next=f"compress profile {Path(folder) / INT8}",
    )
    return dataclasses.replace(report, **changes)  # type: ignore[arg-type]  # fields


def told(report: Report) -> str:
    """The text, with its lines joined: sentences as they were before wrapping."""
    return " ".join(report.as_text().split())


def test_the_ladder_stands_below_the_table_with_what_it_blames() -> None:
    """A person reads this after `quantize --accuracy-drop`; it changes on purpose."""
    assert f"1.91x\n\n{TABLE}" in example().as_text()


def test_the_notes_say_what_changed_what_is_float_and_why() -> None:
    """The network first, then every INT8 file, then five nodes in float, then more."""
    assert NOTES in example().as_text()


def test_advice_has_a_word_of_its_own_in_every_form() -> None:
    """Nobody should ship a file that is slower without having been told."""
    (advice,) = example().advice

    assert f"advice {advice} file" in told(example())
    assert f"- **advice**: {advice}\n" in example().as_markdown()
    assert f'class="notes warn">advice: {advice}<' in example().as_html()


def test_the_text_fits_eighty_columns_whatever_the_names() -> None:
    """Rungs, tensors and nodes may have any name."""
    long = "a_very_" * 20 + "long_name"
    record = quantisation()
    record["rungs"] = [rung(long, 0.02, holds=False, blames=[long], left_float=[long])]
    record["operators"] = [{**row, "name": long} for row in tensors()]
    record["float_operators"] = [{"name": long, "operator": long, "macs_share": 0.5}]
    placed = placement()
    placed["candidates"] = [
        {**entry, "name": long}
        for entry in placed["candidates"]  # type: ignore[attr-defined]  # a list
    ]
    files = (artifact("model", INT8, "x86-vnni", placement=placed),)

    lines = example(quantisation=record, artifacts=files).as_text().splitlines()

    copied = ("file ", "next ")
    assert max(len(line) for line in lines if not line.startswith(copied)) == 80
    assert sum("…" in line for line in lines) >= 6


def test_markdown_has_the_same_as_tables() -> None:
    """Cells by hand; what is in a table is not a bullet as well."""
    page = example().as_markdown()

    for line in MARKDOWN.splitlines():
        assert f"\n{line}\n" in page
    assert "**int8**" not in page
    assert "**float**" not in page


def test_the_page_draws_the_noise_and_names_the_worst() -> None:
    """Five names in the chart, ten in the table; identifiers differ between charts."""
    page = example().as_html()
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    (noise,) = (chart for chart in charts if "SQNR, dB" in chart)
    worst = [tensors()[place]["name"] for place in NOISY]
    table = page.split("Noisiest tensors")[1].split("</table>")[0]

    assert sorted(re.findall(r">(features_\w+)</text>", noise)) == sorted(
        map(str, worst)
    )
    assert re.findall("(?:fill|stroke): (?!none|var)", noise) == []
    named = re.findall(r'<td[^>]* class="name">(features_\w+)</td>', table)
    assert named[:5] == [
        tensors()[place]["name"] for place in sorted(NOISY, key=NOISY.__getitem__)
    ]
    assert len(named) == 10
    identifiers = re.findall(r'\bid="([^"]*)"', "".join(charts))
    assert len(identifiers) == len(set(identifiers))


def test_the_page_shows_files_by_target_and_share() -> None:
    """A float file has no share in INT8."""
    files = example().as_html().split("<h2>Files</h2>")[1].split("</table>")[0]
    files = re.sub(r' data-head="[^"]*"', "", files)

    assert "<th>target</th><th>INT8 MACs</th>" in files
    assert "<td>int8</td><td>arm64</td><td>99.68 %</td>" in files
    assert "<td>float32</td><td>-</td><td>-</td>" in files
    assert "<small>6 nodes in float (float up to cut 3): 2.83 ms, 1.44x as" in files


def test_cards_speak_of_int8_where_no_operation_was_removed() -> None:
    """1.00x fewer operations would be no headline."""
    cards = example().as_html().split("<h2>Comparison")[0]

    assert "<b>99.68 %</b>" in cards
    assert "fewer operations" not in cards


def test_hostile_names_are_shown_not_run() -> None:
    """Node names come from networks of other people."""
    evil = "<script>alert(1)</script>"
    record = quantisation()
    record["rungs"] = [rung(evil, 0.02, holds=False, blames=[evil], left_float=[evil])]
    record["operators"] = [
        {**row, "name": evil, "operator": evil} for row in tensors()[:3]
    ]
    record["float_operators"] = [{"name": evil, "operator": evil, "macs_share": 0.5}]
    placed = {"left_float": ["a"], "candidates": []}
    files = (artifact("model", INT8, evil, placement=placed),)

    page = example(quantisation=record, artifacts=files, advice=(evil,)).as_html()

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10


def test_a_report_from_before_int8_reads_and_says_nothing_of_it(tmp_path: Path) -> None:
    """The old contract has none of the keys."""
    report: Report = report_example.example(tmp_path)
    report.write(tmp_path)
    record = json.loads((tmp_path / "report.json").read_text())
    for key in ("quantisation", "advice"):
        del record[key]
    (tmp_path / "report.json").write_text(json.dumps(record))

    old = Report.read(tmp_path)

    assert old.as_text() == report.as_text()
    assert "INT8" not in old.as_text() + old.as_markdown() + old.as_html()
    assert not re.search("^(int8|ladder|advice)", old.as_text(), re.MULTILINE)


def test_a_report_with_int8_survives_the_disk(tmp_path: Path) -> None:
    """What is read is what was written."""
    report = example(tmp_path)

    assert report.write(tmp_path) == ()

    assert Report.read(tmp_path).as_text() == report.as_text()
    assert Report.read(tmp_path).as_html() == report.as_html()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"int8": {}, "rungs": [{}], "operators": [{}], "float_operators": [{}]},
        {"int8": 3, "rungs": "no", "operators": {"a": 1}, "float_operators": [None]},
        {"int8": {"agreement": 0.75}, "operators": [{"sqnr_db": None, "name": "a"}]},
    ],
)
def test_what_is_not_known_is_left_out_or_a_dash(record: dict[str, object]) -> None:
    """Other versions write other keys; every form can still be made."""
    files = ({"dtype": "int8", "path": INT8, "placement": {"left_float": ["a", "b"]}},)

    report = example(quantisation=record, artifacts=files)

    assert "2 nodes in float, which is faster" in told(report)
    assert "SQNR, dB" not in report.as_html()
    assert "## INT8" in report.as_markdown()
    changed = "25.00 % of the answers changed against float32"
    assert (changed in told(report)) == (record.get("int8") == {"agreement": 0.75})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, ""),
        ({"left_float": [], "candidates": []}, ""),
        ({"left_float": [], "candidates": [{"name": "all in INT8"}]}, ""),
        ({"left_float": ["a"], "candidates": []}, "1 node in float, which is faster"),
        (
            {"measured": False, "candidates": [{"name": "all in INT8"}]},
            "nothing was timed, since this machine is not the target",
        ),
        (
            {"candidates": [{"name": "all in INT8", "latency_ms": 3.05, "ratio": 1.3}]},
            "nothing in float: 3.05 ms, 1.30x as fast as float32",
        ),
        (
            {"float_wins": True, "candidates": [{"latency_ms": 4.0, "ratio": 0.9}]},
            "nothing in float: 4.00 ms, 0.90x as fast as float32, so float32 is better",
        ),
    ],
)  # fmt: skip
def test_a_placement_is_told_in_one_line(record: object, expected: str) -> None:
    """Whether something stays in float, nothing does, or nobody looked."""
    files = (artifact("model", INT8, "x86-vnni", placement=record),)

    text = told(example(artifacts=files))

    assert f"in INT8{f'; {expected}' if expected else ''} float norm_7" in text


def test_tflite_and_onnx_are_both_named_as_what_measured() -> None:
    """Files of one run may run in different runtimes."""
    lite = {**example().measurements[2], "runtime": "litert 2.3"}

    report = example(measurements=(*example().measurements[:2], lite))

    assert "one image, onnxruntime 1.31.1, litert 2.3, 1 thread" in told(report)


def test_a_file_on_grids_of_its_own_says_what_they_changed() -> None:
    """The network's figure above it is that of other files."""
    own: dict[str, object] = {
        "grids": {"scales": {"image": 0.02}},
        "against_float32": {
            "images": 650,
            "argmax_agreement": 0.986,
            "sqnr_db": 25.2,
        },
    }
    jetson = artifact("model", JETSON, "jetson", **own)

    told = [sentence for _, sentence in notes(example(artifacts=(jetson,)))]

    assert (
        "model-mobilenetv2_100-int8-jetson.onnx: 99.68 % of the multiply-accumulates "
        "in INT8; grids of its own: 1.40 % of 650 answers changed, SQNR 25.2 dB"
    ) in told
