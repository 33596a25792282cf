"""QAT as a stage: stopped and resumed, in several processes, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from compress.context.context import RunContext
from compress.data.calibration import batches_of
from compress.data.data import Data
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.quantization import qat_training
from compress.quantization.qat import QatNet
from compress.recipe.qat import Qat
from runtime.errors import InterruptedRunError, RecipeError

HERE = Path(__file__).parent
RANKS = (0, 1)
HALF = {"freeze_batchnorm_after": 0.5, "freeze_observers_after": 0.5}


def options(**fields: object) -> Qat:
    """Three epochs of three steps, the norms and ranges frozen after half of them."""
    filled = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "calib_images": 12}
    return Qat.model_validate(filled | HALF | {"optimizer": "sgd"} | fields)


def prepared(model: Model, data: Data, chosen: Qat) -> QatNet:
    """A model on the grids of its training images."""
    assert data.train is not None
    return qat_training.prepared(model, batches_of(model, data.train), chosen)


def trained(
    tiny: ModuleType, context: RunContext, chosen: Qat
) -> dict[str, torch.Tensor]:
    """What the network on its grids ends with, before it is handed over."""
    model, data = replace(tiny.model(), trained=True), tiny.data(val=12)
    net = prepared(model, data, chosen)
    learnt = qat_training.learnt(model, net, data, context, chosen)
    return learnt.state_dict()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lsq": True, "optimizer": "adamw", "ema": 0.8},
        {"precision": "bf16", "distill": 0.5, "mixup": 0.2, "patience": 2},
    ],
    ids=["plain", "lsq", "bf16"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    tiny: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
) -> None:
    """Stopped in the second epoch, when some of it is frozen and some is not."""
    chosen = options(**fields)
    whole = trained(tiny, tiny.context(tmp_path / "whole"), chosen)
    context = tiny.context(tmp_path / "parts")
    make_loss = qat_training.loss_of
    monkeypatch.setattr(qat_training, "loss_of", _stopping(make_loss, at=5))
    with pytest.raises(InterruptedRunError):
        trained(tiny, context, chosen)
    monkeypatch.setattr(qat_training, "loss_of", make_loss)

    resumed = trained(tiny, context, chosen)

    assert any(
        "goes on at epoch 2, step 3" in told for told in tiny.events(context, "tell")
    )
    assert tiny.same(resumed, whole)


def _stopping(make_loss: object, *, at: int) -> object:
    """A maker of losses that interrupt their own process at step `at`."""

    def make(*given: object) -> object:
        loss = make_loss(*given)  # type: ignore[operator]
        calls = iter(range(1, 100))

        def stopping(logits: torch.Tensor, batch: object) -> object:
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGINT)
            return loss(logits, batch)

        return stopping

    return make


def test_the_float_network_teaches_by_default(tiny: ModuleType, tmp_path: Path) -> None:
    """On grids that lose nothing it has nothing to say: KL of equals is 0."""
    model, data = tiny.model(), tiny.data(val=12)
    images = model.prepare(torch.from_numpy(data.train.pixels).permute(0, 3, 1, 2))
    batch = next(_batches(data, 8))
    with torch.inference_mode():
        logits = model.net.eval()(images[batch.index]).clone()

    loss = qat_training.loss_of(
        model, data, tiny.context(tmp_path), options(augment="none")
    )

    assert float(loss(logits, batch)) == pytest.approx(0.0, abs=1e-6)
    assert float(loss(logits + torch.tensor([1.0, 0.0, 0.0]), batch)) > 0.01


def _batches(data: Data, size: int) -> object:
    """Plain batches of the training images."""
    from compress.data.batches import evaluation_batches

    assert data.train is not None
    return evaluation_batches(data.train, size)


@pytest.mark.parametrize(
    "fields",
    [
        {"freeze": ("0",)},
        {"freeze_batchnorm": True},
        {"gradient_checkpointing": True},
        {"init": "he"},
        {"layer_decay": 0.5},
        {"progressive": 0.5},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_options_for_float_networks_are_refused(
    tiny: ModuleType, tmp_path: Path, fields: dict[str, object]
) -> None:
    (name,) = fields
    with pytest.raises(RecipeError, match=f"qat: {name} is for training in float"):
        options(**fields)(
            tiny.model(), tiny.Opened(tiny.data()), tiny.context(tmp_path)
        )  # type: ignore[arg-type]


def test_a_quantized_model_is_refused(tiny: ModuleType, tmp_path: Path) -> None:
    context, data = tiny.context(tmp_path), tiny.data(val=12)
    net = prepared(tiny.model(), data, options())
    model = tiny.model().with_net(net.quantized())

    with pytest.raises(RecipeError, match="tiny is quantized already; give the float"):
        options()(model, tiny.Opened(data), context)  # type: ignore[arg-type]


def test_the_stage_gives_back_an_int8_network(tiny: ModuleType, tmp_path: Path) -> None:
    """It answers as the float network does on nearly every image."""
    data, model = tiny.data(train=60, val=60), tiny.model()
    float_net = model.with_net(_learnt(tiny, model, data, tmp_path / "float"))

    made = options()(float_net, tiny.Opened(data), tiny.context(tmp_path / "qat"))  # type: ignore[arg-type]

    assert isinstance(made.net, QuantizedNet)
    assert isinstance(made, Model)
    assert made.trained
    shown = model.prepare(torch.from_numpy(data.val.pixels).permute(0, 3, 1, 2))
    with torch.inference_mode():
        same = made.net(shown).argmax(1) == float_net.net(shown).argmax(1)
    assert same.float().mean() > 0.9


def _learnt(
    tiny: ModuleType, model: Model, data: Data, folder: Path
) -> torch.nn.Module:
    """The tiny network after some training in float."""
    from compress.training.fit import fit

    chosen = tiny.options(epochs=4, batch_size=12)
    net: torch.nn.Module = fit(
        model, data, tiny.cross_entropy, chosen, tiny.context(folder)
    ).net
    return net


@pytest.mark.slow
def test_two_processes_agree(tiny: ModuleType, tmp_path: Path) -> None:
    """On weights, statistics and ranges, to the bit: all see the same averages."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *torchrun, HERE / "shared_qat.py", tiny.__file__, tmp_path],
        check=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in RANKS)

    assert tiny.same(one, two)
    names = json.loads((tmp_path / "names.json").read_text(encoding="utf-8"))
    assert set(names) == one.keys()


def test_a_network_on_its_grids_is_copied_whole(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """`fit` trains a copy; what it was given stays as it is."""
    model, data, context = tiny.model(), tiny.data(val=12), tiny.context(tmp_path)
    net = prepared(model, data, options())
    before = {name: value.clone() for name, value in net.state_dict().items()}

    learnt = qat_training.learnt(model, net, data, context, options())

    assert isinstance(learnt, QatNet)
    assert tiny.same(before, net.state_dict())
    assert not tiny.same(before, learnt.state_dict())


def test_a_network_learns_how_far_its_training_is(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs of three steps: ninths of the whole, told before each step."""
    shares: list[float] = []
    monkeypatch.setattr(QatNet, "reach_", lambda _, share: shares.append(share))

    trained(tiny, tiny.context(tmp_path), options())

    assert shares == pytest.approx([step / 9 for step in range(9)])
