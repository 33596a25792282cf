"""An invented but realistic report, for the tests of its forms."""

import math
import random
from pathlib import Path

from compress.report.report import Report

TEACHER = "artifacts/teacher-resnet50.onnx"
STUDENT = "artifacts/student-mobilenetv3_large_100.onnx"


def samples_ns(median_ms: float, *, seed: int) -> list[int]:
    """Latencies as a quiet machine gives them: a narrow peak and a long tail."""
    chance = random.Random(seed)  # noqa: S311  # invented data, no secret
    return [
        round(median_ms * 1e6 * (0.985 + math.exp(chance.gauss(-4, 0.8))))
        for _ in range(400)
    ]


def measurement(
    role: str, path: str, *, about_ms: float, seed: int
) -> dict[str, object]:
    """One entry of `measurements`."""
    samples = samples_ns(about_ms, seed=seed)
    p50_ms, p90_ms, p99_ms = (
        sorted(samples)[round(share * len(samples))] / 1e6 for share in (0.5, 0.9, 0.99)
    )
    return {
        "role": role,
        "path": path.rpartition("/")[2],
        "artifact_sha256": f"{seed:064x}",
        "runtime": "onnxruntime 1.31.1",
        "device": "Intel Xeon Platinum 8481C",
        "kind": "native",
        "threads": 1,
        "runs": 400,
        "p50_ms": p50_ms,
        "p50_low_ms": p50_ms * 0.99,
        "p50_high_ms": p50_ms * 1.01,
        "p90_ms": p90_ms,
        "p99_ms": p99_ms,
        "load_ms": p50_ms * 9,
        "peak_rss_bytes": round(p50_ms * 1e7) + 60_000_000,
        "doubts": [],
        "samples_ns": samples,
    }


def curves() -> list[dict[str, object]]:
    """How two trainings went."""
    return [
        {
            "stage": stage,
            "epoch": epoch,
            "loss": 0.2 + 2.1 * math.exp(-epoch / pace),
            "top1": best - 0.8 * math.exp(-epoch / pace),
        }
        for stage, pace, best in (("distill", 2.2, 0.976), ("alone", 3.5, 0.968))
        for epoch in range(1, 16)
    ]


def artifact(role: str, path: str, size_bytes: int, top1: float) -> dict[str, object]:
    """One entry of `artifacts`."""
    return {
        "role": role,
        "path": path,
        "format": "onnx",
        "dtype": "float32",
        "target": "local",
        "sha256": f"{size_bytes:064x}",
        "size_bytes": size_bytes,
        "top1": top1,
        "int8_macs_fraction": 0.0,
        "parity": {
            "images": 360,
            "argmax_agreement": 1.0,
            "agreement_low": 0.98944,
            "agreement_high": 1.0,
            "max_abs_error": 3.8e-6,
            "sqnr_db": 121.4,
            "ties": 0,
        },
    }


def checks() -> tuple[dict[str, object], ...]:
    """What the student's file had to keep, nobody having set a limit."""
    name = STUDENT.rpartition("/")[2]
    held = (
        ("agreement", "share", "at least", 0.99, 1.0, 4),
        ("sqnr_db", "dB", "at least", 40.0, 121.4, 4),
        ("chance", "share", "more than", 0.1003, 0.975, 5),
    )
    return tuple(
        {
            "limit": limit,
            "what": limit,
            "unit": unit,
            "bound": bound,
            "allowed": allowed,
            "measured": measured,
            "kept": True,
            "file": name,
            "default": True,
            "exit_code": code,
            "sentence": "",
        }
        for limit, unit, bound, allowed, measured, code in held
    )


def row(
    stage: str, model: str, top1: float | None, *, heavy: bool
) -> dict[str, object]:
    """One entry of `rows`."""
    return {
        "stage": stage,
        "model": model,
        "params": 23_528_522 if heavy else 4_214_842,
        "macs": 1_310_000_000 if heavy else 56_100_000,
        "size_bytes": 94_326_568 if heavy else 16_957_128,
        "top1": top1,
        "top5": None if top1 is None else min(1.0, top1 + 0.02),
        "activation_bytes": 12_845_056 if heavy else 3_211_264,
        "training_bytes": 88_000_000 if heavy else 24_000_000,
        "seconds": {"teacher": 96.2, "distill": 141.7, "alone": 118.0}.get(stage, 0.0),
    }


def example(folder: Path) -> Report:
    """The demo's report, with a baseline."""
    teacher, student = "resnet50", "mobilenetv3_large_100"
    return Report(
        name="distill-mobilenetv3_large_100",
        data={"name": "digits", "train": 1437, "val": 360, "classes": 10},
        recipe={
            "version": 1,
            "name": "distill-mobilenetv3_large_100",
            "model": {"name": student},
            "data": {"source": "digits", "size": 64},
            "stages": [
                {
                    "distill": {
                        "teacher": {"name": teacher},
                        "epochs": 15,
                        "temperature": 4.0,
                        "alpha": 0.7,
                        "views": 4,
                        "baseline": True,
                    }
                }
            ],
            "export": {"to": ["onnx"], "batch": "static", "agreement": 0.99},
            "seed": 0,
        },
        machine={
            "cpu": "Intel Xeon Platinum 8481C",
            "arch": "x86_64",
            "cores": 2,
            "memory_bytes": 16_374_562_816,
            "governor": None,
            "features": ["avx2", "avx512f", "avx512_vnni", "fma"],
            "os": "Linux 6.1.0",
            "python": "3.11.7",
            "versions": {"onnxruntime": "1.31.1", "numpy": "2.4.6"},
            "kind": "native",
        },
        rows=(
            row("teacher", teacher, 0.98611, heavy=True),
            row("start", student, 0.09722, heavy=False),
            row("distill", student, 0.975, heavy=False),
            row("alone", student, 0.96944, heavy=False),
        ),
        artifacts=(
            artifact("teacher", TEACHER, 94_147_312, 0.98611),
            artifact("student", STUDENT, 16_858_930, 0.975),
        ),
        measurements=(
            measurement("teacher", TEACHER, about_ms=14.87, seed=1),
            measurement("student", STUDENT, about_ms=2.113, seed=2),
        ),
        comparisons=(
            {
                "a": TEACHER.rpartition("/")[2],
                "b": STUDENT.rpartition("/")[2],
                "ratio": 7.037,
                "low": 6.981,
                "high": 7.102,
            },
        ),
        budget={"limits": {}, "violations": []},
        curves=tuple(curves()),
        checks=checks(),
        ship=(
            {
                "target": "this machine",
                "path": STUDENT,
                "reason": "keeps every limit, 2.12 ms",
            },
        ),
        next=f"compress profile {folder / STUDENT}",
        folder=folder,
    )
