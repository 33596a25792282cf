"""Checkpoints as torchvision, timm and Lightning write them, and as nobody should."""

import argparse
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from compress.context.console import Console
from compress.context.vision import timm
from compress.models.build import build
from compress.models.naming import named_as
from compress.models.nets.lenet import LeNet5
from compress.models.spec import ModelSpec
from compress.models.state import load_state
from runtime.errors import InputRejectedError, RecipeError

Told = Callable[[], str]


def net_of(value: float) -> nn.Module:
    """A LeNet-5 whose every parameter is `value`."""
    net = LeNet5(classes=10, width=1.0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def first_of(path: Path, console: Console, *, ema: bool | None = None) -> float:
    """The first weight of a LeNet-5 that a checkpoint was loaded into."""
    spec = ModelSpec(name="lenet5", weights=str(path), ema=ema)
    model = build(spec, classes=None, native_size=None, seed=0, console=console)
    assert len(model.classes) == 10
    return float(next(iter(model.net.parameters())).detach().flatten()[0])


def torchvision_file(folder: Path) -> Path:
    """What references/classification/train.py of torchvision saves with --model-ema."""
    net, average = net_of(1.0), AveragedModel(net_of(2.0), use_buffers=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    checkpoint = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, data_path=folder, device="cuda"),
        "model_ema": average.state_dict(),
    }
    torch.save(checkpoint, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


def timm_file(folder: Path) -> Path:
    """What timm's own CheckpointSaver writes, with averages and a metric of numpy."""
    net, average = net_of(1.0), timm.utils.ModelEmaV3(net_of(2.0))
    saver = timm.utils.CheckpointSaver(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        args=argparse.Namespace(model="lenet5", lr=0.1),
        model_ema=average,
        checkpoint_dir=str(folder),
        recovery_dir=str(folder),
    )
    saver.save_checkpoint(epoch=1, metric=np.float64(0.5))
    return folder / "last.pth.tar"


def lightning_file(folder: Path, name: str = "model") -> Path:
    """What Lightning saves of a module that holds the network, a loss and a metric."""
    module = nn.ModuleDict({name: net_of(1.0), "ema_model": net_of(2.0)})
    state = module.state_dict() | {"criterion.weight": torch.ones(10)}
    checkpoint = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(checkpoint, folder / f"{name}.ckpt")
    return folder / f"{name}.ckpt"


@pytest.mark.parametrize("write", [torchvision_file, timm_file, lightning_file])
def test_both_sets_of_weights_can_be_had(
    tmp_path: Path, console: Console, told: Told, write: Callable[[Path], Path]
) -> None:
    """The network was filled with ones and its averages with twos."""
    path = write(tmp_path)

    assert first_of(path, console) == 1.0
    assert "the weights taken are" in told()
    assert first_of(path, console, ema=True) == 2.0


def test_what_lightning_holds_beside_the_network_is_left_out(
    tmp_path: Path, console: Console, told: Told
) -> None:
    """Whatever the network is called in the module."""
    assert first_of(lightning_file(tmp_path, "net"), console) == 1.0
    assert "under 'net.'" in told()
    assert "left out" in told()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda s: {"model_state": s, "epoch": 1},
        lambda s: {"some_name": s, "optimizer": {"state": {}}},
        lambda s: s | {"epoch": 3, "note": "best"},
        lambda s: (
            {"n_averaged": torch.tensor(3)} | {f"module.{n}": t for n, t in s.items()}
        ),
        lambda s: {"state_dict_ema": s},
        lambda s: {"model": "lenet5", "state_dict": s},
    ],
)
def test_other_ways_of_wrapping(
    tmp_path: Path, console: Console, wrapped: Callable[[dict[str, Tensor]], object]
) -> None:
    """Each was seen in the wild."""
    torch.save(wrapped(dict(net_of(1.0).state_dict())), tmp_path / "net.pt")

    assert first_of(tmp_path / "net.pt", console) == 1.0


def test_averages_that_are_not_there_are_a_usage_error(
    tmp_path: Path, console: Console
) -> None:
    """Nothing else is taken in their place."""
    torch.save(net_of(1.0).state_dict(), tmp_path / "net.pt")

    with pytest.raises(RecipeError, match="holds no averaged weights"):
        first_of(tmp_path / "net.pt", console, ema=True)


def test_a_network_that_has_the_prefix_itself_keeps_it() -> None:
    """A prefix comes off only where more names fit without it."""
    state = {"model.0.weight": torch.ones(1), "model.0.bias": torch.ones(1)}

    assert named_as(tuple(state), state, ema=False).state.keys() == state.keys()


def test_old_densenets_load(console: Console, tmp_path: Path) -> None:
    """Torchvision's files of 2017 say `norm.1` for what is `norm1` today."""
    spec = ModelSpec(name="torchvision/densenet121")
    today = build(spec, classes=None, native_size=None, seed=0, console=console)
    old = {}
    for name, tensor in today.net.state_dict().items():
        parts = name.split(".")
        if any(part.startswith("denselayer") for part in parts):
            at = parts[-2]
            parts[-2:-1] = [at[:-1], at[-1]]
        if "num_batches" not in name:
            old[".".join(parts)] = tensor
    torch.save(old, tmp_path / "densenet121.pth")
    spec = spec.model_copy(update={"weights": str(tmp_path / "densenet121.pth")})

    again = build(spec, classes=None, native_size=None, seed=1, console=console)

    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    for name, tensor in today.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name


def test_torchscript_is_called_by_its_name(tmp_path: Path) -> None:
    """It is a program, which is not executed; the sentence says what to write."""
    torch.jit.save(
        torch.jit.trace(net_of(1.0), torch.zeros(1, 3, 32, 32)), tmp_path / "a.pt"
    )

    with pytest.raises(InputRejectedError, match=r"TorchScript.*state_dict"):
        load_state(tmp_path / "a.pt")


def looped(path: Path) -> None:
    """A checkpoint that holds itself."""
    record: dict[str, object] = {}
    record["model"] = record
    torch.save(record, path)


def compressed(path: Path) -> None:
    """A gigabyte of zeros, packed into a megabyte."""
    torch.save({"w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    storage = next(name for name in entries if name.endswith("/data/0"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            if name != storage:
                archive.writestr(name, content)
        with archive.open(storage, "w") as stream:
            for _ in range(300):
                stream.write(bytes(1_000_000))


def expanded(path: Path) -> None:
    """One number that poses as forty billion, by strides of zero."""
    torch.save({"w": torch.zeros(1).expand(200_000, 200_000)}, path)


def asking(path: Path) -> None:
    """A pickle that asks for twenty billion bytes: bytearray(20_000_000_000)."""
    number = b"\x8a\x05" + struct.pack("<q", 20_000_000_000)[:5]
    program = (
        b"\x80\x02}X\x01\x00\x00\x00wc__builtin__\nbytearray\n" + number + b"\x85Rs."
    )
    torch.save({"w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, program if name.endswith("data.pkl") else content)


def sparse(path: Path) -> None:
    """A tensor that is not dense."""
    torch.save({"w": torch.eye(3).to_sparse()}, path)


@pytest.mark.parametrize("write", [looped, compressed, expanded, asking, sparse])
def test_bombs_end_in_a_sentence(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """At once, and before the memory is asked for."""
    write(tmp_path / "bomb.pt")
    started = time.process_time()

    with pytest.raises(InputRejectedError, match=r"bomb\.pt: "):
        load_state(tmp_path / "bomb.pt")

    assert time.process_time() - started < 2
