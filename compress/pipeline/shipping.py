"""Which file to ship to each target, and why that one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from compress.devices.measuring import machine_for
from compress.pipeline.evidence import LOCAL, Evidence, devices_of, timed_for_its_device
from compress.pipeline.exported import Delivery, ExportedFile
from compress.pipeline.verdict import checks_of_file
from compress.report import units
from runtime.checks import Check
from runtime.target import target


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A file to ship; path is relative to the run, target a name or this machine."""

    target: str
    path: str
    reason: str

    def as_record(self) -> dict[str, object]:
        """The entry of the contract's `ship`."""
        return asdict(self)


def shipped(found: Evidence, checks: Sequence[Check]) -> tuple[Shipped, ...]:
    """One file for each target, of those that keep every limit, if any does."""
    proof = found.proof
    missed = {check.file for check in checks if check.kept is False}
    if missed - {file.name for file in proof.delivered}:
        return ()  # what the network itself misses, every file of it does
    unjudged = {check.file for check in checks if check.kept is None}
    asked = found.recipe.export
    here = machine_for(asked)
    by_target: dict[str, list[ExportedFile]] = {}
    for file in proof.delivered:
        for name in devices_of(file, found):
            by_target.setdefault(name, []).append(file)
    chosen = []
    for name, files in by_target.items():
        fit = [file for file in files if file.name not in missed]
        if fit:
            file, reason = _best(fit, found)
            if file.name in unjudged:
                reason += "; not every limit could be judged here"
            if name in asked.target and (why := target(name).lacking(here)) is not None:
                reason += f"; proven on another CPU: {why}"
            path = file.artifact.path.relative_to(found.folder).as_posix()
            chosen.append(Shipped(target=name, path=path, reason=reason))
    return tuple(chosen)


def advice(found: Evidence, ship: Sequence[Shipped]) -> tuple[str, ...]:
    """Where INT8 is no gain on what measured it, and which file to take instead."""
    device = found.recipe.export.device
    where = "here" if device is None else "there"
    taken = {each.path.rpartition("/")[2] for each in ship}
    told = []
    for slow, fast, ratio in _slower_in_int8(found.proof):
        then = (
            f"ship {fast.name} {where} unless size matters more"
            if fast.name in taken
            else f"{fast.name} is not the file to ship, or misses a limit"
        )
        told.append(
            f"{slow.name} is slower than {fast.name} on {device or LOCAL} (at least "
            f"{ratio:.2f}x the time); {then}"
        )
    return tuple(told)


def _best(fit: Sequence[ExportedFile], found: Evidence) -> tuple[ExportedFile, str]:
    """The fastest, where that is known, else the smallest; and why."""
    proof = found.proof
    where = "here" if found.recipe.export.device is None else "there"
    timed = [
        (measured.p50_ms, f)
        for f in fit
        if (measured := proof.measured(f)) and measured.p50_ms is not None
    ]
    if not timed:
        best = min(fit, key=lambda file: file.artifact.size_bytes)
        only = "the only one that keeps every limit, not timed"
        return best, only if len(fit) == 1 else "the smallest; none was timed"
    latency_ms, best = min(timed, key=lambda each: each[0])
    for slow, fast, ratio in sorted(_slower_in_int8(proof), key=lambda e: -e[2]):
        if slow is best and all(c.kept for c in checks_of_file(fast, found)):
            return fast, f"INT8 is slower {where}, at least {ratio:.2f}x the time"
    shown = units.milliseconds(latency_ms)
    if not timed_for_its_device(best, found) and (by := proof.measured(best)):
        shown += f" on {by.machine.name}, which is not its device"
    if len(fit) == 1:
        return best, f"keeps every limit, {shown}"
    return best, f"the fastest of {len(fit)} that keep every limit, {shown}"


def _slower_in_int8(proof: Delivery) -> list[tuple[ExportedFile, ExportedFile, float]]:
    """INT8 files, float ones of their format that are surely faster, and how much."""
    files = {each.name: each for each in proof.files}
    found = []
    for each in proof.comparisons:
        for a, b, ratio in (
            (each.a, each.b, each.ratio.low),
            (each.b, each.a, 1 / each.ratio.high),
        ):
            slow, fast = files[a].artifact, files[b].artifact
            # What was quantized, and nothing that was there before it.
            role = files[b].role in {proof.source, proof.files[-1].role}
            same = slow.format == fast.format and role
            if same and (slow.dtype, fast.dtype) == ("int8", "float32") and ratio > 1:
                found.append((files[a], files[b], ratio))
    return found
