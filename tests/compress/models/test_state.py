"""Checkpoints: what is read, what is refused, and in which words."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.models.state import install_, load_state
from runtime.errors import Exit, InputRejectedError, RecipeError


def small_net() -> nn.Sequential:
    """The smallest net with a weight, a bias and a counter."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


class Bomb:
    """A pickle that leaves a file behind if anybody executes it."""

    def __init__(self, mark: Path) -> None:
        """Remember where the mark would be."""
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Ask the reader to run a command."""
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_wrappers_and_prefixes_come_off(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    """What training scripts put around the weights is not part of the weights."""
    net = small_net()
    state = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    path = tmp_path / "checkpoint.pth"
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, path)

    read = load_state(path)

    assert read.keys() == net.state_dict().keys()
    torch.testing.assert_close(read["0.weight"], net[0].weight.detach())


def test_safetensors_and_torch_files_hold_the_same(tmp_path: Path) -> None:
    """Two formats, one content."""
    state = small_net().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")

    one, other = (load_state(tmp_path / f"a.{end}") for end in ("safetensors", "pt"))

    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_code_in_a_pickle_is_named_and_never_run(tmp_path: Path) -> None:
    """Exit 3, and the mark that the code would leave is not there."""
    mark, path = tmp_path / "mark", tmp_path / "evil.pt"
    torch.save({"state_dict": Bomb(mark)}, path)

    with pytest.raises(
        InputRejectedError, match=r"holds Python code \(.*system\)"
    ) as e:
        load_state(path)

    assert e.value.exit_code is Exit.REJECTED
    assert not mark.exists()


def test_a_bare_pickle_is_not_run_either(tmp_path: Path) -> None:
    """The old format of torch.save, and of everybody else."""
    mark, path = tmp_path / "mark", tmp_path / "evil.pkl.pt"
    path.write_bytes(pickle.dumps(Bomb(mark)))

    with pytest.raises(InputRejectedError):
        load_state(path)

    assert not mark.exists()


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, kept: float) -> None:
    """Wherever the copy broke off."""
    state = small_net().state_dict()
    path = tmp_path / f"cut.{ending}"
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])

    with pytest.raises(InputRejectedError, match="cut"):
        load_state(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "holds list"),
        ({"a": 1}, r"1 key \(a\) are no tensors"),
        ({}, "not named tensors"),
        ({"w": torch.tensor([float("nan")])}, "NaN"),
    ],
)
def test_what_is_no_set_of_weights_is_refused(
    tmp_path: Path, content: object, complaint: str
) -> None:
    """A file that loads is not yet a checkpoint."""
    path = tmp_path / "odd.pt"
    torch.save(content, path)

    with pytest.raises(InputRejectedError, match=complaint):
        load_state(path)


def test_a_missing_file_and_a_wrong_format_are_usage_errors(tmp_path: Path) -> None:
    """Exit 2: the command line is wrong, not the file."""
    (tmp_path / "net.h5").write_bytes(b"\x89HDF")

    with pytest.raises(RecipeError, match="no such file"):
        load_state(tmp_path / "none.pt")
    with pytest.raises(RecipeError, match=r"\.h5 is no checkpoint format"):
        load_state(tmp_path / "net.h5")


def test_every_kind_of_mismatch_is_named_with_its_count() -> None:
    """Missing, unexpected and misshapen keys, a few of each by name."""
    net = small_net()
    state: dict[str, Tensor] = dict(net.state_dict())
    del state["0.bias"]
    state["extra"] = torch.zeros(1)
    state["0.weight"] = torch.zeros(4, 3, 5, 5)

    with pytest.raises(InputRejectedError) as caught:
        install_(net, state, origin="a.pt")

    said = str(caught.value)
    assert "1 key (0.bias) missing" in said
    assert "1 key (extra) unexpected" in said
    assert "0.weight ([4, 3, 5, 5] instead of [4, 3, 3, 3])" in said


def test_counters_of_batches_may_be_missing() -> None:
    """Checkpoints older than torch 0.4 have none, and nothing depends on them."""
    net, other = small_net(), small_net()
    state = {n: t for n, t in other.state_dict().items() if "num_batches" not in n}

    install_(net, state, origin="old.pt")

    torch.testing.assert_close(net[0].weight, other[0].weight)
