"""Layers alone in ONNX Runtime: they compute what torch computes, and are timed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress import measuring
from compress.aim import Aim
from compress.job import Job
from compress.lowrank.chain import chain
from compress.lowrank.timing import raced
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice, profile_files
from runtime.session import open_session


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(7, 5)], (1, 7)),
        ([nn.Linear(7, 3, bias=False), nn.Linear(3, 5)], (1, 7)),
        ([nn.Linear(7, 3, bias=False), nn.Linear(3, 5)], (1, 4, 7)),
        (
            [nn.Conv2d(4, 6, (3, 5), stride=2, padding=(1, 2), dilation=2)],
            (1, 4, 12, 12),
        ),
        ([nn.Conv2d(4, 6, 3, padding="same", bias=False)], (1, 4, 9, 9)),
        (
            [
                nn.Conv2d(4, 2, 1, bias=False),
                nn.Conv2d(2, 3, 3, padding="valid", bias=False),
                nn.Conv2d(3, 6, 1),
            ],
            (1, 4, 9, 9),
        ),
    ],
)
def test_a_chain_computes_what_its_layers_do(
    layers: list[nn.Module], shape: tuple[int, ...], tmp_path: Path
) -> None:
    onnx.save(chain(layers, shape), tmp_path / "chain.onnx")
    image = torch.randn(shape)

    found = open_session(tmp_path / "chain.onnx").run(image.numpy())

    with torch.inference_mode():
        expected = nn.Sequential(*layers)(image)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_more_work_takes_more_time(tmp_path: Path) -> None:
    """Sixteen times the work, where the work is what counts."""
    small, large = nn.Linear(512, 256), nn.Linear(512, 4096)
    rng = np.random.default_rng(0)

    times = raced([large, small], (1, 512), job=Job(folder=tmp_path), rng=rng)

    assert times[0] > 2 * times[1] > 0


class Board:
    """Runs files here, and says that each took a millisecond more than the last."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], Plan]] = []

    def measure(self, files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
        """Measure, and count."""
        self.asked.append(([path.name for path in files], plan))
        found = profile_files(files, replace(plan, runs=10), screen)
        slower = [
            replace(
                each, samples_ns=tuple(range(1_000_000 * place, 1_000_000 * place + 9))
            )
            for place, each in enumerate(found.measurements, start=1)
        ]
        return replace(found, measurements=tuple(slower))


def test_layers_are_timed_where_the_files_will_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All candidates in turn, by ONNX Runtime there; its times decide, not ours."""
    board = Board()
    monkeypatch.setattr(measuring, "device", {"pi5": board}.__getitem__)
    layers = [nn.Conv2d(3, 4, 1), nn.Conv2d(3, 400, 3), nn.Conv2d(3, 4, 1)]
    job = Job(folder=tmp_path, aim=Aim(device="pi5", threads=4))
    rng = np.random.default_rng(0)

    times = raced(layers, (1, 3, 8, 8), job=job, rng=rng)

    assert times == pytest.approx((1.0, 2.0, 3.0), rel=1e-3)
    ((names, plan),) = board.asked
    assert names == ["0.onnx", "1.onnx", "2.onnx"]
    assert (plan.runtime, plan.threads, plan.compare) == ("onnxruntime", 4, True)
    (alone,) = raced(layers[:1], (1, 3, 8, 8), job=job, rng=rng)
    assert alone == pytest.approx(1.0, rel=1e-3)
    elsewhere = replace(job, aim=replace(job.aim, runtime="litert"))
    raced(layers[:1], (1, 3, 8, 8), job=elsewhere, rng=rng)
    assert len(board.asked) == 2
