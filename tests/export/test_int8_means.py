"""A mean on a calm grid: no sum that a kernel may meet is rounded in two ways."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("ai_edge_litert")

from means_in_files import PROGRAM, Mean, simulated, worst_maps, write

from compress.int8.grids import float32
from compress.int8.means import calm_mean
from compress.int8.pools import MOST_PLACES
from export.qparams import HIGH, LOW, Grid

FORMATS = ("lite", "uint8", "int8")
HASWELL = ("qemu-x86_64", "-cpu", "Haswell")


def drawn(seed: int) -> Mean:
    """A mean as calibration may ask for it: any map, ratio and zero points."""
    rng = np.random.default_rng(seed)
    most = int(MOST_PLACES**0.5)
    sides = (most, most) if seed == 0 else tuple(rng.integers(1, most + 1, 2).tolist())
    scale = 10 ** rng.uniform(-3, 0)
    zeros = [LOW if rng.random() < 1 / 3 else int(rng.integers(LOW, HIGH + 1))]
    zeros.append(int(rng.integers(LOW, HIGH + 1)))
    # The narrower a mean's own grid, the more a factor's last bit is worth.
    narrower = 1.0 if seed == 0 else 10 ** rng.uniform(0, 1.5)
    return Mean(
        (sides[0], sides[1]),
        Grid(float32(scale), zeros[0]),
        Grid(float32(scale / narrower), zeros[1]),
    )


def calm(mean: Mean) -> Mean:
    """The same mean on a grid that avoids ties."""
    return mean._replace(target=calm_mean(mean.source, mean.target, [mean.count]))


def answered(
    folder: Path, prefix: tuple[str, ...] = ()
) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
    """What each format's runtime answers to every file of a folder."""
    subprocess.run([*prefix, sys.executable, "-c", PROGRAM, str(folder)], check=True)
    return {
        file.stem: {
            each: np.load(folder / f"{file.stem}.answer.{each}.npy") for each in FORMATS
        }
        for file in folder.glob("*.tflite")
    }


def differing(
    means: dict[str, Mean], folder: Path, prefix: tuple[str, ...] = ()
) -> set[tuple[str, str]]:
    """Which means' files, of which format, do not answer as the simulation does."""
    want = {}
    for name, mean in means.items():
        maps = worst_maps(mean)
        write(mean, maps, folder, name)
        want[name] = simulated(mean, maps)
    return {
        (name, each)
        for name, found in answered(folder, prefix).items()
        for each, codes in found.items()
        if not np.array_equal(codes, want[name])
    }


def test_no_sum_next_to_a_tie_is_rounded_in_two_ways(tmp_path: Path) -> None:
    """Both runtimes and the simulation, on 40 pairs of grids; no tolerance."""
    means = {f"mean_{seed}": calm(drawn(seed)) for seed in range(40)}

    assert differing(means, tmp_path) == set()


def test_on_other_grids_sums_are(tmp_path: Path) -> None:
    """What the rule is there for: the first one is where MobileNetV3 went wrong."""
    even = Grid(float32(0.02), LOW)
    means = {
        "tie": Mean((8, 8), even, even._replace(zero_point=1)),
        "near": Mean((7, 7), Grid(float32(0.1), 6), Grid(float32(0.1 / 3), 111)),
    }
    means["near"] = next(
        each
        for scale in range(3000, 4000)
        if _is_near(each := means["near"]._replace(target=Grid(scale * 1e-5, 111)))
    )

    found = differing(means, tmp_path)

    assert ("tie", "lite") in found
    moved = {name: calm(mean) for name, mean in means.items()}
    assert differing(moved, tmp_path) == set()


def _is_near(mean: Mean) -> bool:
    """Whether a sum lies nearer to a tie than float32 can tell."""
    steps = np.arange(-255 * mean.count, 255 * mean.count + 1)
    places = steps * (mean.source.scale / mean.target.scale / mean.count)
    away = np.abs(places - np.floor(places) - 0.5)
    return bool(0 < away[np.abs(places) < 128].min() < 1e-6)


@pytest.mark.parametrize("seed", range(200))
def test_a_calm_grid_is_hardly_coarser(seed: int) -> None:
    mean = drawn(seed)
    coarser = calm(mean).target.scale / mean.target.scale

    assert 1 - 1e-6 < coarser < 1 + 1 / 128
    assert calm(mean).target.zero_point == mean.target.zero_point


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(HASWELL[0]) is None, reason="needs qemu-x86_64 (Debian: qemu-user)"
)
def test_nor_on_a_cpu_without_vnni(tmp_path: Path) -> None:
    """QEMU plays a Haswell."""
    means = {f"mean_{seed}": calm(drawn(seed)) for seed in range(40)}

    assert differing(means, tmp_path, HASWELL) == set()
