"""The report: its contract, its verdict, and what people see of it."""

import dataclasses
import html
import html.parser
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import report_example
from report_example import STUDENT

from compress.report.comparison import entries, gain
from compress.report.report import Report
from compress.report.units import (
    count,
    milliseconds,
    percent,
    points,
    seconds,
    size,
    times,
)
from runtime.errors import Exit, InputRejectedError, RecipeError

GOLDEN = """\
distill-mobilenetv3_large_100: on digits (1437 to train, 360 to judge)

verdict  fit to ship (no budget was set)
ship     runs/demo/artifacts/student-mobilenetv3_large_100.onnx
for      this machine: keeps every limit, 2.12 ms

* a default                                              allowed  measured  kept
────────────────────────────────────────────────────────────────────────────────
student-mobilenetv3_large_100.onnx
  same answers as its network *                        ≥ 99.00 %  100.00 %   yes
  SQNR against its network *                           ≥ 40.0 dB  121.4 dB   yes
  top-1 above chance *                                 > 10.03 %   97.50 %   yes
────────────────────────────────────────────────────────────────────────────────

                                         top-1  params    MACs     size  latency
────────────────────────────────────────────────────────────────────────────────
teacher  resnet50                      98.61 %  23.5 M  1.31 G  94.1 MB  14.9 ms
student  mobilenetv3_large_100         97.50 %  4.21 M  56.1 M  16.9 MB  2.12 ms
alone    mobilenetv3_large_100         96.94 %  4.21 M  56.1 M  16.9 MB        -
────────────────────────────────────────────────────────────────────────────────
teacher / student                     -1.11 pt   5.58x   23.4x    5.58x    7.04x

proof    teacher-resnet50.onnx gives the network's answer on 100.00 % of 360
         images, SQNR 121.4 dB
         student-mobilenetv3_large_100.onnx gives the network's answer on
         100.00 % of 360 images, SQNR 121.4 dB
latency  median (p50) of 400 runs, one image, onnxruntime 1.31.1, 1 thread,
         Intel Xeon Platinum 8481C; 95 % sure of 6.98x to 7.10x
file     94.1 MB  runs/demo/artifacts/teacher-resnet50.onnx
         16.9 MB  runs/demo/artifacts/student-mobilenetv3_large_100.onnx
report   runs/demo/report.html
next     compress profile runs/demo/artifacts/student-mobilenetv3_large_100.onnx"""


def example(folder: str | Path = "runs/demo", **changes: object) -> Report:
    """The invented report, with changes."""
    report: Report = report_example.example(Path(folder))
    return dataclasses.replace(report, **changes)  # type: ignore[arg-type]  # fields


def test_the_final_table_is_what_it_was() -> None:
    """A person reads this after every run; it changes only on purpose."""
    assert example().as_text() == GOLDEN


@pytest.mark.parametrize(("columns", "widest"), [("40", 60), ("60", 60), ("200", 120)])
def test_text_fits_the_terminal(
    columns: str, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 60 columns to 120; what one may copy stays on its line."""
    monkeypatch.setenv("COLUMNS", columns)
    lines = example("r").as_text().splitlines()
    kept = [line for line in lines if "artifacts/" not in line]

    assert max(map(len, kept)) <= widest
    assert any(len(line) == widest for line in lines)


def test_the_contract_has_its_keys() -> None:
    """Scripts rely on DESIGN.md's keys; more may be added, none may go."""
    record = json.loads(example().as_json())

    assert {
        "schema", "name", "data", "recipe", "machine", "rows", "artifacts",
        "measurements", "budget",
    } <= record.keys()  # fmt: skip
    assert {"name", "train", "val", "classes"} <= record["data"].keys()
    for row in record["rows"]:
        assert {
            "stage", "params", "macs", "size_bytes", "top1", "seconds",
        } <= row.keys()  # fmt: skip
    assert {"limits", "violations"} <= record["budget"].keys()


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    """What is read is what was written, and report.json is what --json prints."""
    report = example(tmp_path)

    assert report.write(tmp_path) == ()
    back = Report.read(tmp_path)

    assert json.loads(back.as_json()) == json.loads(report.as_json())
    assert back.as_text() == report.as_text()
    assert (tmp_path / "report.json").read_text() == report.as_json() + "\n"
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.json", "report.md", "report.html",
    }  # fmt: skip


def test_lists_of_numbers_take_one_line_and_stay_the_same() -> None:
    """Hundreds of samples would otherwise be hundreds of lines."""
    report = example()

    assert json.loads(report.as_json()) == json.loads(json.dumps(report.as_record()))
    assert len(report.as_json().splitlines()) < 700


def check(*, kept: bool | None, code: int, default: bool = False) -> dict[str, object]:
    """A limit held against the student's file."""
    return {
        "limit": "top1_min" if code == Exit.BUDGET else "agreement",
        "file": "student.onnx",
        "unit": "share",
        "bound": "at least",
        "allowed": 0.99,
        "measured": 1.0 if kept else 0.98,
        "kept": kept,
        "default": default,
        "exit_code": code,
        "sentence": "too bad" if code == Exit.BUDGET else "not alike",
    }


@pytest.mark.parametrize(
    ("parity", "budget", "expected"),
    [(True, True, 0), (False, True, 4), (True, False, 5), (False, False, 4)],
)
def test_the_exit_code_is_the_verdict(
    parity: bool, budget: bool, expected: int
) -> None:
    """Parity comes before the budget; what nobody could judge is no miss."""
    report = example(
        checks=(
            check(kept=parity, code=Exit.PARITY),
            check(kept=budget, code=Exit.BUDGET),
            check(kept=None, code=Exit.BUDGET),
        ),
        budget={"limits": {}, "violations": [] if budget else ["too bad"]},
    )

    assert report.exit_code == expected
    words = {0: "fit to ship", 4: "parity failed: not alike", 5: "budget missed: too b"}
    assert words[expected] in report.as_text()
    assert words[expected] in report.as_markdown()
    for word in words[expected].split(": "):
        assert word in report.as_html()
    record = json.loads(report.as_json())
    assert record["exit_code"] == expected
    assert record["verdict"] == report.verdict


def test_a_default_that_is_missed_is_no_budget() -> None:
    report = example(
        checks=(check(kept=False, code=Exit.BUDGET, default=True),),
        budget={"limits": {}, "violations": ["too bad"]},
    )

    assert report.verdict == "not fit to ship: too bad"


def test_a_file_that_could_not_be_written_is_in_the_verdict() -> None:
    """The others are reported all the same."""
    report = example(refused=({"file": "a.tflite", "reason": "no kernel for it"},))

    assert report.exit_code == Exit.REJECTED
    assert "a.tflite: no kernel for it" in report.as_text()
    assert STUDENT in report.as_text()


def test_the_verdict_and_its_limits_come_first() -> None:
    """Then one knows whether to read on; every form has the file to ship."""
    report = example(
        checks=(check(kept=True, code=Exit.PARITY, default=True),),
        ship=({"target": "this machine", "path": STUDENT, "reason": "the fastest"},),
    )

    for form in (report.as_text(), report.as_markdown(), report.as_html()):
        order = ("fit to ship", "the fastest", "same answers as", "98.61")
        places = [form.index(each) for each in order]
        assert places == sorted(places)


def test_how_much_smaller_is_of_files_and_without_files_of_weights() -> None:
    """A quarter of the weights is not a quarter of a file, which holds more.

    The float network was measured as `finetune`; the start has as many parameters.
    """
    rows = tuple(
        {"stage": stage, "params": 100, "size_bytes": size}
        for stage, size in (("start", 400), ("finetune", 400), ("ptq", 103))
    )
    files = tuple(
        {"role": role, "format": form, "dtype": dtype, "size_bytes": size, "path": role}
        for role, form, dtype, size in (
            ("finetune", "tflite", "float32", 460),
            ("finetune", "onnx", "float32", 500),
            ("model", "onnx", "int8", 150),
            ("model", "tflite", "int8", 130),
        )
    )
    report = example(rows=rows, artifacts=files, measurements=(), comparisons=())

    assert [entry.size_bytes for entry in entries(report)] == [500, 500, 150]
    assert gain(report).size == pytest.approx(500 / 150)  # type: ignore[union-attr]
    bare = example(rows=rows, artifacts=(), measurements=(), comparisons=())
    assert gain(bare).size == pytest.approx(400 / 103)  # type: ignore[union-attr]


def test_ratios_are_before_over_after() -> None:
    """Worked out by hand from rows and files; the speed-up is the one timed in turn."""
    found = gain(example())

    assert found is not None
    assert found.params == pytest.approx(23_528_522 / 4_214_842)
    assert found.macs == pytest.approx(1310 / 56.1)
    assert found.size == pytest.approx(94_147_312 / 16_858_930)
    assert found.top1_change == pytest.approx(0.975 - 0.98611)
    assert (found.speed, found.speed_low, found.speed_high) == (7.037, 6.981, 7.102)


def test_a_comparison_the_other_way_round_is_turned() -> None:
    """Student / teacher 0.125 (0.1 to 0.2) is a speed-up of 8 (5 to 10)."""
    given = dict(example().comparisons[0])
    turned = {
        "a": given["b"], "b": given["a"], "ratio": 0.125, "low": 0.1, "high": 0.2,
    }  # fmt: skip

    found = gain(example(comparisons=(turned,)))

    assert found is not None
    assert (found.speed, found.speed_low, found.speed_high) == (8, 5, 10)


def test_without_a_comparison_the_medians_are_divided() -> None:
    """And no interval is claimed."""
    report = example(comparisons=())
    p50 = [
        np.sort(row["samples_ns"])[200]  # type: ignore[arg-type]  # a list of int
        for row in report.measurements
    ]

    found = gain(report)

    assert found is not None
    assert found.speed == pytest.approx(p50[0] / p50[1])
    assert "95 % sure" not in report.as_text()


def test_a_run_without_a_teacher_compares_with_its_start() -> None:
    """Fine-tuning and pruning begin with a model worth comparing with."""
    rows = [dict(row) for row in example().rows if row["stage"] in ("start", "distill")]
    rows[1]["stage"] = "finetune"

    report = example(rows=tuple(rows))

    assert [entry.label for entry in entries(report)] == ["start", "finetune"]
    assert "start / finetune" in report.as_text()


def test_a_run_without_stages_shows_its_model_alone() -> None:
    """Export: one row, no ratios."""
    rows = tuple(row for row in example().rows if row["stage"] == "start")
    measurement = {**example().measurements[1], "role": "model"}

    report = example(rows=rows, measurements=(measurement,), comparisons=())

    assert gain(report) is None
    assert re.search(r"model  mobilenetv3_large_100.* 2\.12 ms", report.as_text())
    assert " / " not in report.as_text().split("proof")[0]
    assert "before / after" not in report.as_html()


def test_what_is_not_known_is_a_dash() -> None:
    """Also when nothing at all is known."""
    report = example(
        rows=({"stage": "start", "top1": None},),
        artifacts=(), measurements=(), comparisons=(), curves=(), machine={}, data={},
    )  # fmt: skip

    assert re.search(r"model .* -  +-  +-  +-  +-$", report.as_text(), re.MULTILINE)
    assert "<svg" not in report.as_html()
    assert "| - |" in report.as_markdown()


def test_the_table_fits_eighty_columns_whatever_the_names() -> None:
    """A long name is cut; lines to be copied are not."""
    rows = tuple(
        {**row, "model": "a_very_" * 12 + "long_name"} for row in example().rows
    )
    doubts = ["latency varies by 31 % of its mean; quiet the machine " * 3]
    slow = tuple({**row, "doubts": doubts} for row in example().measurements)

    lines = example(rows=rows, measurements=slow).as_text().splitlines()

    copied = ("file ", "report ", "next ", "         16.9 MB", "         94.1 MB")
    assert all(len(line) <= 80 for line in lines if not line.startswith(copied))
    assert any("…" in line for line in lines)
    assert any(line.startswith("doubt ") for line in lines)


def test_an_emulated_latency_is_called_one() -> None:
    """It is no latency of any device, wherever it is shown."""
    told = tuple({**row, "kind": "emulated"} for row in example().measurements)

    report = example(measurements=told)

    assert "EMULATED" in report.as_text()
    assert "emulated" in report.as_html()


class Page(html.parser.HTMLParser):
    """What a browser would load or run, and the texts."""

    def __init__(self, page: str) -> None:
        """Read the whole page."""
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tags and whatever points elsewhere."""
        self.tags.append(tag)
        self.links += [str(value) for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Note texts."""
        self.texts.append(data)


def test_the_page_needs_nothing_else() -> None:
    """No script, no picture: it can be mailed; its one link is the file beside it."""
    page = Page(example().as_html())

    assert page.links == [f"./{STUDENT}"]
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 5  # scatter, two curves, two histograms
    assert "7.04x" in page.texts


def test_charts_follow_the_theme_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the page's colors, texts as texts, and the same bytes on every machine."""
    import matplotlib as mpl

    page = example().as_html()
    charts = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    names = set(re.findall(r"var\((--\w+)\)", charts))

    assert re.findall("(?:fill|stroke): (?!none|var)", charts) == []
    assert names >= {"--c1", "--c2", "--c3", "--ink", "--soft", "--rule"}
    assert all(page.count(f"{name}: #") == 2 for name in names)  # light and dark
    assert ">student (16.9 MB)</text>" in charts
    identifiers = re.findall(r'\bid="([^"]*)"', charts)
    assert len(identifiers) == len(set(identifiers))
    monkeypatch.setitem(mpl.rcParams, "lines.linestyle", ":")
    monkeypatch.setitem(mpl.rcParams, "svg.hashsalt", "another")
    assert example().as_html() == page


def test_a_hostile_name_is_shown_not_run() -> None:
    """Names come from folders of other people: class names, stages, files."""
    evil = "<script>alert(1)</script>"
    measured = {**example().measurements[0], "role": evil, "doubts": [evil]}
    curves = tuple({**point, "stage": evil} for point in example().curves)
    rows = tuple({**row, "model": evil} for row in example().rows)

    page = example(
        name=evil, rows=rows, curves=curves, next=evil, data={"name": evil},
        measurements=(measured,), machine={"cpu": evil}, recipe={evil: evil},
    ).as_html()  # fmt: skip

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_what_a_run_was_given_took_no_time_that_could_be_told() -> None:
    """A teacher out of the cache is not one that was trained in 0.0 s."""
    rows = tuple(
        report_example.row(stage, "lenet5", 0.9, heavy=True) | {"seconds": seconds}
        for stage, seconds in (("teacher", 0.0), ("distill", 141.7))
    )

    lines = example(rows=rows).as_markdown().splitlines()

    costs_of = [line.split(" | ") for line in lines if line.endswith("|")][-2:]
    assert [cells[-1] for cells in costs_of] == ["- |", "2 min 22 s |"]


def test_markdown_tables_survive_a_bar() -> None:
    """A bar in a name would be a column."""
    rows = tuple({**row, "model": "a|b"} for row in example().rows)

    lines = example(rows=rows).as_markdown().splitlines()

    table = [
        re.sub(r"\\\|", "", line) for line in lines if line.startswith("| teacher")
    ]
    assert table[0].count("|") == 8


def without(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look as if `library` were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == library else found(name),
    )


def test_the_page_does_without_charts_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of it is written, and a sentence says what is missing."""
    without("matplotlib", monkeypatch)

    (sentence,) = example(tmp_path).write(tmp_path)

    assert "no charts" in sentence
    assert "pip install 'jinja2>=" in sentence
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" not in page
    assert "7.04x" in page
    assert Report.read(tmp_path).exit_code == 0


def test_the_page_is_skipped_in_a_sentence_without_jinja2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smaller installation still gets its report; the verdict does not change."""
    without("jinja2", monkeypatch)

    (sentence,) = example(tmp_path).write(tmp_path)

    assert "pip install 'jinja2>=" in sentence
    assert not (tmp_path / "report.html").exists()
    assert Report.read(tmp_path).exit_code == 0


def test_a_folder_without_a_run_is_a_usage_error(tmp_path: Path) -> None:
    """So is one that does not exist."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RecipeError, match="no run is there"):
            Report.read(folder)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a record"),
        ('{"schema": 7}', "schema is 7"),
        ('{"schema": 1, "name": 3}', "name is 3"),
        ('{"schema": 1, "name": "a", "data": 5}', "data is 5, not a record"),
    ],
)
def test_a_report_that_is_none_is_rejected_in_a_sentence(
    tmp_path: Path, broken: str, words: str
) -> None:
    """Whatever is wrong with it."""
    (tmp_path / "report.json").write_text(broken)

    with pytest.raises(InputRejectedError, match=words) as rejected:
        Report.read(tmp_path)

    assert str(tmp_path / "report.json") in str(rejected.value)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(0), "0"), (count(812), "812"), (count(999.6), "1.00 k"),
        (count(4_214_842), "4.21 M"), (count(999_600), "1.00 M"),
        (count(1_310_000_000), "1.31 G"), (size(17), "17 B"),
        (size(94_326_568), "94.3 MB"), (size(None), "-"), (percent(0.975), "97.50 %"),
        (points(-0.0111), "-1.11 pt"), (points(0.02), "+2.00 pt"),
        (milliseconds(0.1234), "0.123 ms"), (milliseconds(9.996), "10.0 ms"),
        (milliseconds(1234.5), "1234 ms"), (times(5.584), "5.58x"),
        (times(23.35), "23.4x"),
        (times(150.2), "150x"), (seconds(1.24), "1.2 s"), (seconds(59.7), "1 min 00 s"),
        (seconds(142), "2 min 22 s"), (seconds(7500), "2 h 05 min"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    """Three digits, and the unit that suits them; MB is 10^6 bytes."""
    assert shown == expected


def browsed(
    tmp_path: Path, page: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    """Chromium, asked to open `page`."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; run tests/install-system-packages")
    return subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", *words, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def test_the_page_opens_in_a_browser(tmp_path: Path) -> None:
    """Chromium draws it without a complaint, and the picture is not empty."""
    from PIL import Image

    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(example().as_html(), encoding="utf-8")

    done = browsed(tmp_path, page, "--window-size=1180,2400", f"--screenshot={picture}")

    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] == 1180
    # The student's blue, in its disc, its curves and its histogram.
    blue = (abs(pixels.astype(int) - (37, 99, 235)).sum(axis=2) < 150).sum()
    assert blue > 2000


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_of_the_page_is_off_screen(tmp_path: Path, width: int) -> None:
    """Every table cell, card and chart ends within a phone's width, and a desk's."""
    within = html.escape(example().as_html())
    (tmp_path / "frame.html").write_text(
        f'<iframe width="{width}" height="900" srcdoc="{within}"></iframe><p id="wide">'
        "<script>onload = () => { wide.textContent = 'beyond: ' + [...document"
        ".querySelector('iframe').contentDocument.querySelectorAll('main *')]"
        f".filter(each => each.getBoundingClientRect().right > {width})"
        ".map(each => each.tagName).join() }</script>",
        encoding="utf-8",
    )

    done = browsed(tmp_path, tmp_path / "frame.html", "--dump-dom")

    (beyond,) = re.findall(r'<p id="wide">(beyond: [^<]*)', done.stdout)
    assert beyond == "beyond: "
