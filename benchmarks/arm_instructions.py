"""Instructions an inference of our float32 and INT8 TFLite files on two ARM cores.

usage: python benchmarks/arm_instructions.py [--nets resnet18,…] [--out FILE]

Weights are random (kernels execute as many instructions with any), ranges are those of
noise; 224 px, one thread, LiteRT on emulated cores: cortex-a72 has no dot products,
cortex-a76 has. The same numbers each time; they are no times.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import fx, nn

from compress.context.vision import timm
from compress.devices.emulated import CORES
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.plan import planned
from compress.int8.simulate import with_qdq
from compress.prediction.counting import Count, counted
from compress.prediction.laps import instructions
from compress.quantization.calibrate import scheme_of, seen_ranges
from export.to_tflite import to_tflite
from runtime.files import write_json
from runtime.preprocess import Preprocess

RESULTS = Path(__file__).with_name("results") / "arm_instructions.json"
SIZE = 224
CLASSES = tuple(f"{each}" for each in range(1000))
# net: INT8 instructions over float32's that we promise on cortex-a76, if any
GOALS = {"resnet18": 0.40, "mobilenetv2_100": 0.60, "mobilenetv3_large_100": None}


def network(name: str) -> nn.Module:
    """A network of timm whose residual branches add something."""
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    for module in net.modules():
        # Some begin as 0, and what adds nothing is folded away by a converter.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return net


def quantized(net: nn.Module, name: str) -> fx.GraphModule:
    """The net with Q and DQ, ranges as they are seen."""
    graph = captured(net, size=SIZE, name=name)
    canonical_(graph)
    plan = planned(graph)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    seen = seen_ranges(graph, plan, lambda: [images], histograms=False)
    return with_qdq(graph, scheme_of(graph, plan, seen, "minmax"))


def kinds(count: Count) -> dict[str, int]:
    """Instructions by kind of operator."""
    found: Counter[str] = Counter()
    for each in count.operators:
        found[each.name] += instructions(each.runs)
    return dict(found.most_common())


def rows(name: str, folder: Path) -> list[dict[str, object]]:
    """A net's files, counted."""
    net = network(name)
    found: list[dict[str, object]] = []
    for dtype in ("float32", "int8"):
        path = folder / f"{name}-{dtype}.tflite"
        to_tflite(
            quantized(net, name) if dtype == "int8" else net,
            size=SIZE,
            path=path,
            dtype=dtype,
            classes=CLASSES,
            preprocess=Preprocess(size=SIZE, resize=SIZE),
            recipe_sha256="",
            name=name,
        )
        for cpu in CORES:
            count = counted(path, cpu=cpu)
            print(f"{name} {dtype} {cpu}: {count.instructions:,}", flush=True)
            found.append(
                {
                    "net": name,
                    "dtype": dtype,
                    "cpu": cpu,
                    "runtime": count.runtime,
                    "instructions": count.instructions,
                    "by_operator": kinds(count),
                }
            )
    return found


def main() -> int:
    """Count every net; hold INT8 against float32."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(GOALS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    missed = 0
    every: list[dict[str, object]] = []
    ratios: dict[str, dict[str, float]] = {}
    for name in options.nets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = rows(name, Path(folder))
        every += found
        of = {(row["dtype"], row["cpu"]): row["instructions"] for row in found}
        ratios[name] = {
            cpu: round(of["int8", cpu] / of["float32", cpu], 4) for cpu in CORES
        }
        goal = GOALS.get(name)
        late = goal is not None and ratios[name]["cortex-a76"] > goal
        missed += late
        print(f"{name}: {ratios[name]} (goal: {goal})", "MISSED" if late else "")
        write_json(options.out, {"int8_over_float32": ratios, "rows": every})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
