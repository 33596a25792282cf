"""Two processes on the CPU train what one trains, and only the first writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

RANKS = (0, 1)


@pytest.fixture(scope="module")
def shared(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind, see `shared` of tiny_training.py."""
    folder = tmp_path_factory.mktemp("shared")
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *torchrun, "--standalone", tiny.__file__, "shared", folder],
        check=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return folder


@pytest.fixture(scope="module")
def alone(
    tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """What one process ends with."""
    folder = tmp_path_factory.mktemp("alone")
    state: dict[str, Tensor] = tiny.shared_case().trained(tiny.context(folder))
    return state


def notes(folder: Path, rank: int) -> dict[str, object]:
    """What one process noted."""
    text = (folder / f"notes-{rank}.json").read_text(encoding="utf-8")
    record: dict[str, object] = json.loads(text)
    return record


@pytest.mark.parametrize("rank", RANKS)
def test_two_processes_end_where_one_ends(
    shared: Path, alone: dict[str, Tensor], rank: int
) -> None:
    """Sums in another order differ in the last bits, so to 1e-6 and not to the bit."""
    found = load_file(shared / f"through-{rank}.safetensors")

    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


def test_both_processes_have_the_same_bits(shared: Path, tiny: ModuleType) -> None:
    for kind in ("through", "resumed"):
        one, two = (load_file(shared / f"{kind}-{rank}.safetensors") for rank in RANKS)
        assert tiny.same(one, two)


def test_only_the_first_process_writes(shared: Path) -> None:
    """Each was given a folder of its own; the second's stays as it was."""
    assert "state.safetensors" in notes(shared, 0)["written"]  # type: ignore[operator]
    assert notes(shared, 1)["written"] == ["events.jsonl"]  # the test handed it that


def test_a_signal_to_one_stops_both_at_the_same_step(
    shared: Path, tiny: ModuleType
) -> None:
    """SIGINT reaches the second in step 4; both stop after it and resume."""
    sentences = [notes(shared, rank)["stopped"] for rank in RANKS]
    assert sentences[0] == sentences[1]
    assert "after 1 of 2 epochs and 1 step;" in str(sentences[0])
    for rank in RANKS:
        resumed = load_file(shared / f"resumed-{rank}.safetensors")
        assert tiny.same(resumed, load_file(shared / f"through-{rank}.safetensors"))


@pytest.mark.parametrize("rank", RANKS)
def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    shared: Path, rank: int
) -> None:
    """Seven images over two processes would weigh four of them less than three."""
    sentence = "batch_size: 2 processes cannot share 7 images evenly"
    assert sentence in str(notes(shared, rank)["odd"])
