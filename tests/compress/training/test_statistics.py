"""Batch-norm statistics of a training that was too short for them, against float64."""

import math
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.data.data import Images
from compress.models.model import Model
from compress.quantization.qat_training import prepared
from compress.recipe.finetune import FineTune
from compress.recipe.qat import Qat
from compress.recipe.training import Training
from compress.sparsity.goal import Goal, SparsitySchedule
from compress.training.fit import fit
from compress.training.statistics import arrived, plain_batches, reestimated
from runtime.errors import InterruptedRunError

MOMENTUM = 0.1


def by_hand(model: Model, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what the tiny net's norm is given, pixel by pixel.

    In float64 with numpy alone, over all images at once: a convolution of 3x3 with a
    border of zeros.
    """
    weight = model.net[0].weight.detach().double().numpy()  # type: ignore[index]
    bias = model.net[0].bias.detach().double().numpy()  # type: ignore[index]
    how = model.preprocess
    pixels = images.pixels.astype(np.float64) / 255
    scaled = (pixels - np.array(how.mean)) / np.array(how.std)
    padded = np.pad(scaled, ((0, 0), (1, 1), (1, 1), (0, 0)))
    side = images.size
    maps = np.zeros((len(images), side, side, len(weight))) + bias
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + side, column : column + side]
            maps += part @ weight[:, :, row, column].T
    numbers = maps.reshape(-1, len(weight))
    return numbers.mean(0), numbers.var(0, ddof=1)


def norm_of(model: Model) -> nn.BatchNorm2d:
    """The norm of the tiny net."""
    norm = model.net[1]  # type: ignore[index]
    assert isinstance(norm, nn.BatchNorm2d)
    return norm


def test_a_short_training_is_evaluated_with_the_statistics_of_its_weights(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Six steps at a momentum of 0.1; the oracle sees all training images at once."""
    data = tiny.data()
    trained = fit(
        tiny.model(), data, tiny.cross_entropy, tiny.options(), tiny.context(tmp_path)
    )

    norm = norm_of(trained)
    mean, variance = by_hand(trained, data.train)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-5)
    assert norm.momentum == MOMENTUM
    assert norm.num_batches_tracked == 6
    assert not norm.training


def test_parts_of_a_thousand_images_are_pooled(tiny: ModuleType) -> None:
    """More images than one pass takes: mean and variance of all, not of the last."""
    model, images = tiny.model(), tiny.images(900)
    shown = plain_batches(model, images, seed=0, device="cpu")

    made = reestimated(model.net, ["1"], shown)

    sizes = [len(batch) for batch in shown()]
    assert sum(sizes) == 900
    assert max(sizes) - min(sizes) <= len(sizes)
    mean, variance = by_hand(model, images)
    np.testing.assert_allclose(made[1].running_mean.numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(made[1].running_var.numpy(), variance, rtol=1e-5)
    assert norm_of(model).running_mean.abs().max() == 0  # the argument is as it was


def test_a_batch_is_of_all_classes(tiny: ModuleType) -> None:
    """A listing is sorted by class, and a class's own statistics say nothing."""
    images = tiny.images(300)
    order = np.argsort(images.labels, kind="stable")
    by_class = Images(
        pixels=images.pixels[order],
        labels=images.labels[order],
        size=images.size,
        digest="sorted",
    )
    model = tiny.model()
    for batch in plain_batches(model, by_class, seed=0, device="cpu")():
        brightest = batch.mean((2, 3)).argmax(1)
        assert set(brightest.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("momentum", "steps"), [(0.1, 44), (0.01, 459), (0.5, 7), (0.001, 4603)]
)
def test_an_average_has_arrived_when_a_hundredth_of_its_past_is_left(
    momentum: float, steps: int
) -> None:
    """The closed form against the recursion that PyTorch runs."""
    left = 1.0
    for step in range(steps):
        assert not arrived(momentum, step)
        left += momentum * (0.0 - left)
    assert left <= 0.01 < left / (1 - momentum)
    assert arrived(momentum, steps)


def test_a_cumulative_average_never_arrives() -> None:
    assert not arrived(None, 10**6)


def test_a_training_that_was_long_enough_keeps_its_running_statistics(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """With a momentum of 0.9 six steps are enough, and the average is PyTorch's own."""
    model, data = tiny.model(), tiny.data()
    norm_of(model).momentum = 0.9
    fitted = fit(
        model, data, tiny.cross_entropy, tiny.options(), tiny.context(tmp_path)
    )

    norm = norm_of(fitted)
    mean, _ = by_hand(fitted, data.train)
    assert not np.allclose(norm.running_mean.numpy(), mean, rtol=1e-4)


@pytest.mark.parametrize("fields", [{"freeze_batchnorm": True}, {"freeze": ("1",)}])
def test_frozen_statistics_stay(
    fields: dict[str, object], tiny: ModuleType, tmp_path: Path
) -> None:
    model = tiny.model()
    norm_of(model).running_mean.fill_(0.25)
    options = tiny.options(**fields)

    made = fit(model, tiny.data(), tiny.cross_entropy, options, tiny.context(tmp_path))

    assert torch.equal(norm_of(made).running_mean, norm_of(model).running_mean)
    assert torch.equal(norm_of(made).running_var, norm_of(model).running_var)


def test_averaged_weights_get_statistics_of_their_own(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """However long the training: sixty steps, an average over the last hundred."""
    data = tiny.data()
    options = tiny.options(epochs=20, ema=0.99)

    made = fit(tiny.model(), data, tiny.cross_entropy, options, tiny.context(tmp_path))

    mean, variance = by_hand(made, data.train)
    np.testing.assert_allclose(norm_of(made).running_mean.numpy(), mean, atol=1e-5)
    np.testing.assert_allclose(norm_of(made).running_var.numpy(), variance, rtol=1e-4)


def test_the_best_epoch_is_judged_and_kept_with_its_statistics(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Patience would choose at random among epochs that all look like chance."""
    data = tiny.data(val=12)
    options = tiny.options(epochs=4, patience=4)

    made = fit(tiny.model(), data, tiny.cross_entropy, options, tiny.context(tmp_path))

    mean, _ = by_hand(made, data.train)
    np.testing.assert_allclose(norm_of(made).running_mean.numpy(), mean, atol=1e-5)


@pytest.mark.parametrize("until", [0.5, 0.97])
def test_weights_that_went_late_change_the_statistics(
    until: float, tiny: ModuleType, tmp_path: Path
) -> None:
    """Sixty steps are enough, those after the last zero are not."""
    data = tiny.data()
    goal = Goal(names=("0.weight",), sparsity=0.5, scope="global", of=None, block=1)
    thinning = SparsitySchedule(goal=goal, until=until)

    made = fit(
        tiny.model(),
        data,
        tiny.cross_entropy,
        tiny.options(epochs=20),
        tiny.context(tmp_path),
        thinning=thinning,
    )

    weight = made.net[0].weight  # type: ignore[index]
    assert int((weight == 0).sum()) == round(weight.numel() / 2)
    mean, _ = by_hand(made, data.train)
    np.testing.assert_allclose(norm_of(made).running_mean.numpy(), mean, atol=1e-5)


def test_a_grown_resolution_changes_the_statistics(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Sixty steps, of which the last 36 were at the size that is evaluated."""
    data = tiny.data(size=64)
    model = tiny.model(size=64)

    made = fit(
        model,
        data,
        tiny.cross_entropy,
        tiny.options(epochs=20, progressive=0.5),
        tiny.context(tmp_path),
    )

    mean, _ = by_hand(made, data.train)
    np.testing.assert_allclose(norm_of(made).running_mean.numpy(), mean, atol=1e-5)


def gathered(made: Model, folder: Path, tiny: ModuleType, **fields: object) -> Tensor:
    """The answers of a QAT of few steps."""
    filled = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-4, "calib_images": 12}
    stage = Qat(**filled | fields)  # type: ignore[arg-type]
    data = tiny.Opened(tiny.data(val=12))
    net = stage(made, data, tiny.context(folder)).net
    pixels = torch.from_numpy(data.train.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        answers: Tensor = net(made.prepare(pixels))
    return answers


@pytest.mark.parametrize("until", [0.34, 1.0])
def test_a_quantized_training_that_gathers_too_briefly_settles_its_statistics(
    until: float, tiny: ModuleType, tmp_path: Path
) -> None:
    """From statistics far off, few steps of gathering lead nowhere near the float net.

    With the default they are never touched, as they are the float network's own.
    """
    tuned = FineTune(epochs=20, batch_size=8, learning_rate=0.05)
    model = tuned(
        tiny.model(), tiny.Opened(tiny.data()), tiny.context(tmp_path / "float")
    )
    with torch.no_grad():
        pixels = torch.from_numpy(tiny.data().train.pixels).permute(0, 3, 1, 2)
        wanted = model.net(model.prepare(pixels))
    far = tiny.model(tiny.net())
    far.net.load_state_dict(model.net.state_dict())
    norm_of(far).running_mean += 2.0
    norm_of(far).running_var *= 9.0

    told = gathered(
        far, tmp_path / "far", tiny, freeze_batchnorm_after=until, distill=0.0
    )

    spread = float(wanted.std())
    assert float((told - wanted).abs().mean()) < 0.2 * spread
    near = gathered(model, tmp_path / "near", tiny)
    assert float((near - wanted).abs().mean()) < 0.2 * spread


@pytest.mark.parametrize("step", [3, 4])
def test_a_quantized_training_stopped_where_gathering_ends_loses_no_bit(
    step: int, tiny: ModuleType, tmp_path: Path
) -> None:
    """Of six steps three gather; statistics are settled before the fourth."""
    data, model = tiny.data(), tiny.model()
    stage = Qat(freeze_batchnorm_after=0.5)
    shown = plain_batches(model, data.train, seed=0, device="cpu")
    started = model.with_net(prepared(model, shown, stage))
    options = tiny.options(learning_rate=0.01)

    def trained(folder: Path, loss: object) -> dict[str, Tensor]:
        state: dict[str, Tensor] = fit(
            started, data, loss, options, tiny.context(folder)
        ).net.state_dict()
        return state

    whole = trained(tmp_path / "whole", tiny.cross_entropy)
    stopping = tiny.interrupting(signal.SIGINT, at=step)
    with pytest.raises(InterruptedRunError):
        trained(tmp_path / "halves", stopping)
    assert tiny.same(whole, trained(tmp_path / "halves", tiny.cross_entropy))


@pytest.mark.parametrize(
    ("images", "size"),
    [(2, 8), (202, 8), (319, 8), (320, 16), (1279, 32), (1280, 64), (50_000, 64)],
)
def test_few_images_make_small_batches(images: int, size: int) -> None:
    """The largest power of two from 8 to 64 that leaves an epoch twenty steps."""
    powers = [p for p in (8, 16, 32, 64) if images / p >= 20]
    assert Training().images_a_step(images) == size == max(powers, default=8)
    assert Training(batch_size=5).images_a_step(images) == 5


def rate(family: str, **fields: int) -> float:
    """The rate that is chosen for 202 images, in terms of that for plenty."""
    few = Training(**fields).training(family, images=202)  # type: ignore[arg-type]
    plenty = Training(batch_size=64).training(family)  # type: ignore[arg-type]
    assert few.learning_rate is not None
    assert plenty.learning_rate is not None
    return few.learning_rate / plenty.learning_rate


def test_the_rate_follows_the_batch_that_was_chosen() -> None:
    """An eighth of the batch: an eighth of SGD's steps, Adam's by the square root.

    A batch size that was named keeps the rate that it always had.
    """
    assert math.isclose(rate("resnet"), 1 / 8)
    assert math.isclose(rate("mobilenet"), math.sqrt(1 / 8))
    assert math.isclose(rate("mobilenet", batch_size=8), 1 / 8)
    assert math.isclose(rate("mobilenet", batch_size=64), 1)
