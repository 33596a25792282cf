"""Energy of an inference in millijoules: measured where there is a meter, idle apart.

The machine rests, works and rests again while the meter counts; what it takes at rest
is subtracted. Where no meter can be read the answer is the reason, never a number.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final

from runtime.meters.meter import Meter, NoMeterError
from runtime.timing import Call
from runtime.typed import Between

_Watts = Annotated[float, Between(0, 1e6)]

REST_S: Final = 2.0
WORK_S: Final = 5.0
# Where rest before and after differ by more than this share of what work adds, the
# difference is no longer what the inferences took.
_UNQUIET: Final = 0.10


@dataclass(frozen=True, kw_only=True)
class Energy:
    """What an inference takes, or why it is not known.

    source: the meter and what it counts; mj: of one inference, idle subtracted; rest_w:
    power at rest, before and after.
    """

    source: str
    mj: Annotated[float, Between(0, 1e12)] | None = None
    busy_w: _Watts | None = None
    rest_w: tuple[_Watts, _Watts] | None = None
    runs: Annotated[int, Between(0, 2**31)] = 0
    reason: str | None = None

    def as_text(self) -> str:
        """One sentence."""
        if self.mj is None or self.busy_w is None or self.rest_w is None:
            return f"energy is unknown: {self.reason}"
        idle_w = sum(self.rest_w) / 2
        return (
            f"{self.mj:.3g} mJ an inference by {self.source} ({self.busy_w:.2f} W at "
            f"work, {idle_w:.2f} W idle subtracted, {self.runs} runs)"
        )

    def doubts(self) -> Iterator[str]:
        """What speaks against the number."""
        if self.mj is None or self.busy_w is None or self.rest_w is None:
            return
        apart = abs(self.rest_w[0] - self.rest_w[1])
        if apart > _UNQUIET * (self.busy_w - sum(self.rest_w) / 2):
            yield (
                f"power at rest went from {self.rest_w[0]:.2f} W to "
                f"{self.rest_w[1]:.2f} W: energy holds something else, too"
            )


def measure_energy(
    call: Call,
    meter: Meter,
    *,
    seconds: tuple[float, float] = (REST_S, WORK_S),
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Energy:
    """Rest, run `call`, rest; the meter's joules, idle subtracted.

    seconds: of each rest, and of the work.
    """
    rest_s, work_s = seconds
    runs = 0

    def work() -> None:
        nonlocal runs
        began = clock()
        while runs == 0 or clock() - began < work_s:
            call()
            runs += 1

    try:
        before = meter.over(lambda: sleep(rest_s))
        busy = meter.over(work)
        after = meter.over(lambda: sleep(rest_s))
    except NoMeterError as error:
        return Energy(source=meter.source, reason=str(error))
    idle_w = (before.watts + after.watts) / 2
    joules = busy.joules - idle_w * busy.seconds
    if joules <= 0:
        return Energy(
            source=meter.source,
            reason=f"{meter.source} shows no more at work ({busy.watts:.2f} W) than at "
            f"rest ({idle_w:.2f} W)",
        )
    return Energy(
        source=meter.source,
        mj=joules / runs * 1e3,
        busy_w=busy.watts,
        rest_w=(before.watts, after.watts),
        runs=runs,
    )
