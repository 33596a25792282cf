"""A run that was stopped ends with the bits of one that was not."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from compress.models.checkpoint import read_tensors_and_record, write_tensors
from compress.training.resume import (
    STATE,
    Progress,
    forget_state,
    load_state,
    save_state,
)
from runtime.errors import InterruptedRunError

# Of tiny_training.py; listed here, because collecting tests must not import torch nets.
CASES = ("sgd", "adamw")
SIGNALS = (signal.SIGINT, signal.SIGKILL)
MOMENTS = (5, 6)


@pytest.fixture(scope="module", autouse=True)
def _as_many_threads_in_every_process() -> Iterator[None]:
    """Sums depend on them, and a verb that another test ran here may have set them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def halted(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of runs that signals stopped, each in a process of its own."""
    folder = tmp_path_factory.mktemp("halted")
    subprocess.run([sys.executable, tiny.__file__, "halted", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def whole(
    tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Tensor]]:
    """What every case ends with when nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: case.trained(tiny.context(folder / name))
        for name, case in tiny.cases().items()
    }


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", CASES)
def test_a_stopped_run_goes_on_to_the_same_bits(  # noqa: PLR0913, PLR0917  # three are the case
    tiny: ModuleType,
    halted: Path,
    whole: dict[str, dict[str, Tensor]],
    name: str,
    number: signal.Signals,
    moment: int,
) -> None:
    """The other process died of SIGKILL, or answered SIGINT; this one takes over."""
    title = f"{name}-{number.name}-{moment}"
    codes = json.loads((halted / "codes.json").read_text(encoding="utf-8"))
    # subprocess's convention: died of signal 9 is -9; ours: interrupted is 130
    assert codes[title] == (-9 if number is signal.SIGKILL else 130)
    made = tiny.context(halted / title)
    assert not list(made.folder.glob(".*.part"))

    resumed = tiny.cases()[name].trained(made)

    # SIGINT lets the step at hand finish; SIGKILL does not.
    done = moment if number is signal.SIGINT else moment - 1
    at = f"train: goes on at epoch {done // 3 + 1}, step {done % 3 + 1}"
    if done % 3 == 0:  # stopped between the last step of an epoch and its validation
        at = f"train: goes on at epoch {done // 3}, step 4"
    assert tiny.events(made, "tell") == [at]
    assert tiny.same(resumed, whole[name])


def test_an_interrupt_is_a_sentence_and_stops_within_a_step(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """The state says where it stopped: two steps into the second epoch."""
    made = tiny.context(tmp_path, save_seconds=1e9)
    sentence = "after 1 of 3 epochs and 2 steps; run the same command again"

    with pytest.raises(InterruptedRunError, match=sentence):
        tiny.cases()["sgd"].trained(made, tiny.interrupting(signal.SIGTERM, at=5))

    _, record = read_tensors_and_record(made.folder / STATE)
    progress = record["progress"]
    assert isinstance(progress, dict)
    assert (progress["epoch"], progress["step"]) == (1, 2)


def test_an_interrupt_during_the_last_validation_is_not_lost(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step follows; the run still stops, and the next has nothing left to train."""
    import compress.training.fit as module

    case, made = tiny.cases()["adamw"], tiny.context(tmp_path / "stopped")
    looked, measure = 0, module.accuracy

    def accuracy(*arguments: object) -> object:
        nonlocal looked
        looked += 1
        if looked == 3:
            signal.raise_signal(signal.SIGINT)
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "accuracy", accuracy)
    with pytest.raises(InterruptedRunError, match="after 3 of 3 epochs"):
        case.trained(made)
    monkeypatch.undo()

    calls: list[int] = []
    resumed = case.trained(made, lambda *_: calls.append(1))
    assert calls == []
    assert tiny.same(resumed, case.trained(tiny.context(tmp_path / "whole")))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def _one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 64  # in the exponent or the digits of some weight
    path.write_bytes(content)


def _no_record(path: Path) -> None:
    tensors, _ = read_tensors_and_record(path)
    write_tensors(path, tensors)


def _bad_record(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{\\"numbers', b'{{"numbers', 1))
    assert path.read_bytes() != content


@pytest.mark.parametrize(
    "damage", [_truncated, _empty, _noise, _one_bit, _no_record, _bad_record]
)
def test_a_damaged_state_is_nothing_to_resume(
    tiny: ModuleType,
    whole: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    damage: object,
) -> None:
    """The run starts over, says nothing of going on, and ends as it always does."""
    made = tiny.context(tmp_path)
    with pytest.raises(InterruptedRunError):
        tiny.cases()["sgd"].trained(made, tiny.interrupting(signal.SIGINT, at=2))
    damage(made.folder / STATE)  # type: ignore[operator]

    again = tiny.cases()["sgd"].trained(made)

    assert tiny.events(made, "tell") == []
    assert tiny.same(again, whole["sgd"])


@pytest.mark.parametrize("foreign", ["options", "data", "model", "seed"])
def test_a_foreign_state_is_nothing_to_resume(
    tiny: ModuleType, tmp_path: Path, foreign: str
) -> None:
    """What other options, data, weights or another seed left is not taken up."""
    case, made = tiny.cases()["sgd"], tiny.context(tmp_path)
    with pytest.raises(InterruptedRunError):
        case.trained(made, tiny.interrupting(signal.SIGINT, at=2))
    other = {
        "options": replace(case, options=tiny.options(epochs=2, learning_rate=0.01)),
        "data": replace(case, data=tiny.data(seed=5)),
        "model": replace(case, model=tiny.model(tiny.net(seed=5))),
        "seed": case,
    }[foreign]

    other.trained(replace(made, seed=1) if foreign == "seed" else made)

    assert tiny.events(made, "tell") == []


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, optimizer: str) -> None:
    """Bit for bit: weights, both kinds of optimizer state, average, best, progress."""
    chance = torch.Generator().manual_seed(0)

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        settings = {"momentum": 0.9} if optimizer == "SGD" else {}
        kind = getattr(torch.optim, optimizer)
        return net, kind(net.parameters(), lr=0.1, **settings)

    net, steps = made()
    for _ in range(2):
        steps.zero_grad()
        net(torch.randn(2, 3, 5, 5, generator=chance)).square().sum().backward()
        steps.step()
    average, best = torch.nn.Linear(2, 2), {"x": torch.randn(2, 2, generator=chance)}
    progress = Progress(key="k", epoch=2, step=1, loss_sum=0.1, curve=({"epoch": 1.0},))
    path = tmp_path / STATE
    save_state(path, progress, net, steps, average, best)

    other, fresh = made()
    sidecar = torch.nn.Linear(2, 2)
    loaded = load_state(path, "k", other, fresh, sidecar)

    assert loaded is not None
    assert loaded[0] == progress
    assert loaded[1] is not None
    assert torch.equal(loaded[1]["x"], best["x"])
    torch.testing.assert_close(other.state_dict(), net.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        sidecar.state_dict(), average.state_dict(), rtol=0, atol=0
    )
    torch.testing.assert_close(
        fresh.state_dict()["state"], steps.state_dict()["state"], rtol=0, atol=0
    )
    assert load_state(path, "other", other, fresh, sidecar) is None


def test_a_state_is_forgotten_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"")

    forget_state(tmp_path)
    forget_state(tmp_path)

    assert list(tmp_path.iterdir()) == []
