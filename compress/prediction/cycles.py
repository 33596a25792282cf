"""Static throughput analysis: cycles of basic blocks by LLVM's models of ARM cores.

llvm-mca schedules a block over and over on a core's pipelines, with every load served
by the nearest cache; branches, caches and memory are not in it. The time that this
takes is a block's latency. For a block that is no loop by itself it may be too much:
what it reads was not written by itself a moment before, so a core that runs out of
order overlaps it with its neighbors. Its throughput is what the busiest pipeline needs.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from compress.prediction.laps import Block, Runs, instructions
from runtime.errors import DeviceError, one_line

# LLVM 19 is the first whose model of Neoverse N1 (the A76 core) is N1's own.
OLDEST: Final = 19
_NEWEST_LOOKED_FOR: Final = 40
_COVERED: Final = 0.99  # of all instructions; the rest runs at the mean of these
_ITERATIONS: Final = 100
_PATIENCE_S: Final = 300.0
# Where a branch goes does not matter, but it has to be a multiple of 4.
_BRANCH: Final = re.compile(r"^(b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,|b|bl)\s+#-?\d+")
_OFFSET: Final = re.compile(r"#(-?\d+)$")  # of the branch that ends a block
_THROUGHPUT: Final = re.compile(r"Block RThroughput:\s+([\d.]+)")
_CYCLES: Final = re.compile(r"Total Cycles:\s+(\d+)")
_REGION: Final = re.compile(r"\[\d+\] Code Region - b(\d+)")


# What a block is charged; `mixed`: a loop its latency, any other its throughput.
Form = Literal["mixed", "latency", "throughput"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)


@dataclass(frozen=True)
class Llvm:
    """The two programs of an installed LLVM."""

    version: str
    mc: str
    mca: str

    @property
    def major(self) -> str:
        """The number that models of cores change with."""
        return self.version.partition(".")[0]


def installed() -> list[Llvm]:
    """Every LLVM that knows these cores, the newest first; Debian has several."""
    every = []
    for major in range(_NEWEST_LOOKED_FOR, OLDEST - 1, -1):
        folder = Path(f"/usr/lib/llvm-{major}/bin")
        for found in (
            (folder / "llvm-mc", folder / "llvm-mca"),
            (f"llvm-mc-{major}", f"llvm-mca-{major}"),
            ("llvm-mc", "llvm-mca"),
        ):
            mc, mca = (shutil.which(str(each)) for each in found)
            if mc and mca and (version := _version(mca)).startswith(f"{major}."):
                every.append(Llvm(version=version, mc=mc, mca=mca))
                break
    return every


def cycles(
    runs: Sequence[Runs], *, core: str, llvm: Llvm, form: Form = "mixed"
) -> list[float]:
    """Cycles of each of `runs` on `core`, a name of LLVM's; the first is the whole.

    Blocks that make up 99 % of the whole's instructions are scheduled; all others are
    taken to run at the mean of these.
    """
    whole = runs[0]
    total = instructions(whole)
    hot: list[Block] = []
    covered = 0
    for block in sorted(whole, key=lambda each: (-whole[each] * len(each), each)):
        if covered >= _COVERED * total:
            break
        hot.append(block)
        covered += whole[block] * len(block)
    scheduled = _scheduled(hot, core=core, llvm=llvm)
    of = {block: each.cycles(form) for block, each in scheduled.items()}
    mean = sum(whole[block] * of[block] for block in of) / sum(
        whole[block] * len(block) for block in of
    )
    return [
        sum(times * of.get(block, mean * len(block)) for block, times in each.items())
        for each in runs
    ]


@dataclass(frozen=True)
class _Cost:
    """Cycles of a block: run over and over, and of its busiest pipeline alone."""

    latency: float
    throughput: float
    loop: bool

    def cycles(self, form: Form) -> float:
        """What one run of it is charged."""
        if form == "latency" or (form == "mixed" and self.loop):
            return self.latency
        return self.throughput


def _scheduled(
    blocks: Sequence[Block], *, core: str, llvm: Llvm
) -> Mapping[Block, _Cost]:
    """What each block costs; what llvm-mca cannot schedule is left out."""
    lines = _disassembled([word for block in blocks for word in block], llvm=llvm)
    source: list[str] = []
    loops: list[bool] = []
    for number, block in enumerate(blocks):
        body, lines = lines[: len(block)], lines[len(block) :]
        back = _OFFSET.search(body[-1])
        loops.append(back is not None and int(back[1]) == -4 * (len(block) - 1))
        source.append(f"# LLVM-MCA-BEGIN b{number}")
        source += [_BRANCH.sub(lambda at: at[1] + " #16", line) for line in body]
        source.append("# LLVM-MCA-END")
    words = [llvm.mca, "-mtriple=aarch64", f"-mcpu={core}"]
    words += [f"-iterations={_ITERATIONS}", "-skip-unsupported-instructions=any"]
    report = _run(words, "\n".join(source) + "\n")
    found = zip(
        map(int, _REGION.findall(report)),
        map(float, _CYCLES.findall(report)),
        map(float, _THROUGHPUT.findall(report)),
        strict=True,
    )
    of = {
        blocks[number]: _Cost(total / _ITERATIONS, throughput, loops[number])
        for number, total, throughput in found
    }
    if not of:
        raise DeviceError(f"llvm-mca {llvm.version}: scheduled no block for {core}")
    return of


def _disassembled(words: Sequence[str], *, llvm: Llvm) -> list[str]:
    """A line of assembly for each instruction word."""
    # Little endian, as in memory.
    raw = [" ".join("0x" + word[at : at + 2] for at in (6, 4, 2, 0)) for word in words]
    call = [llvm.mc, "-disassemble", "-triple=aarch64", "-mattr=+all"]
    said = _run(call, "\n".join(raw) + "\n")
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith(".text")]
    if len(lines) != len(words):
        raise DeviceError(
            f"llvm-mc {llvm.version}: {len(words)} instructions, {len(lines)} lines"
        )
    return lines


def _run(words: Sequence[str], source: str) -> str:
    """What a program of LLVM's prints."""
    try:
        done = subprocess.run(  # noqa: S603  # our own words, no shell
            words,
            input=source,
            capture_output=True,
            check=False,
            text=True,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{words[0]}: {one_line(error)}") from error
    return done.stdout


@functools.cache
def _version(program: str) -> str:
    """Such as 22.1.8; empty if it does not say."""
    try:
        said = _run([program, "--version"], "")
    except DeviceError:
        return ""
    found = re.search(r"LLVM version (\d+\.\d+\.\d+)", said)
    return found[1] if found else ""
