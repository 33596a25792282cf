"""What a profile measures beside latency: phases always, energy and peaks if asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from runtime.backends.table import backend_for
from runtime.checking import check_files
from runtime.costs import count_costs
from runtime.energy import Energy, measure_energy
from runtime.measurement import Measurement
from runtime.meters.meter import NoMeterError
from runtime.meters.table import open_meter
from runtime.peaks import Peaks, measure_peaks
from runtime.phases import edges
from runtime.plan import Plan
from runtime.roofline import Roofline
from runtime.session import Session
from runtime.voice import Voice


def with_extras(
    measurements: Sequence[Measurement],
    sessions: Mapping[str, Session],
    plan: Plan,
    screen: Voice,
    *,
    rng: np.random.Generator,
) -> tuple[Measurement, ...]:
    """The measurements of `sessions`, with what `plan` asks for beside them.

    Under emulation there is nothing to time or to count, but answers to look at.
    """
    peaks: Peaks | None = None
    if plan.roofline and all(each.kind == "native" for each in measurements):
        screen.tell("measuring this machine's peaks: of its CPU")
        peaks = measure_peaks(threads=plan.threads)
    found = []
    for each in measurements:
        session = sessions[each.file]
        if each.kind == "emulated":
            found.append(replace(each, answers=_answers(session, plan)))
            continue
        on_cpu = backend_for(session.artifact, plan.runtime).cpu
        energy = _energy(session, plan.energy, screen, rng) if plan.energy else None
        found.append(
            replace(
                each,
                edges=edges(session.artifact, rng),
                energy=energy,
                roofline=_roofline(session, peaks) if peaks and on_cpu else None,
            )
        )
    return tuple(found)


def _answers(session: Session, plan: Plan) -> str | None:
    """What the file's self-test says; None where it carries none."""
    artifact = session.artifact
    if artifact.selftest is None or artifact.preprocess is None:
        return None
    path, threads = artifact.path, plan.threads
    (checked,) = check_files([path], threads=threads, runtime=plan.runtime).files
    return checked.sentence


def _energy(
    session: Session, name: str, screen: Voice, rng: np.random.Generator
) -> Energy:
    """Millijoules of an inference, or why they are unknown."""
    try:
        meter = open_meter(name)
    except NoMeterError as error:
        return Energy(source="none", reason=str(error))
    screen.tell(f"measuring energy by {meter.source}; leave the machine alone")
    batch = rng.standard_normal(session.input_shape, dtype=np.float32)
    return measure_energy(session.bind(batch), meter)


def _roofline(session: Session, peaks: Peaks) -> Roofline:
    """The file's costs held against the peaks."""
    costs = count_costs(session.artifact)
    return Roofline(
        peaks=peaks,
        int8=costs is not None and costs.int8,
        macs=costs.macs if costs else None,
        bytes_moved=costs.bytes_moved if costs else None,
        working_bytes=costs.working_bytes if costs else None,
    )
