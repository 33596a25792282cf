"""How a network is trained: every option a stage that trains offers, defined once."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.models.names import Family
from compress.recipe.quantities import OptionalShare, Share

# Learning rates are for this batch size and scale linearly with it (Goyal et al. 2017).
REFERENCE_BATCH = 256

# Smallest and largest that are chosen; a norm of fewer than 8 images is mostly noise.
BATCH_SIZES = (8, 64)
# Of an epoch, where images are few: 202 photos in batches of 64 are three steps, and
# ten epochs of those end before momentum and warm-up have got anywhere.
LEAST_STEPS = 20

# What has learnt already is tuned with a tenth of the rate, as Girshick et al. 2014 do.
TUNING_SHARE = 0.1

# optimizer, learning rate at REFERENCE_BATCH, weight decay, schedule, warm-up (share of
# all steps), largest norm of the gradient (0 is off). ResNet and VGG: SGD with Nesterov
# momentum as in He et al. 2015 and torchvision's reference. MobileNet and EfficientNet:
# warm-up and cosine as in Howard et al. 2019, with AdamW in place of RMSprop, which
# needs no tuned epsilon; their rate served MobileNetV3 best on the digits, where it
# needs the clipped gradient.
DEFAULTS: dict[
    Family, tuple[Literal["sgd", "adamw"], float, float, str, float, float]
] = {
    "resnet": ("sgd", 0.2, 5e-4, "cosine", 0.1, 0.0),
    "vgg": ("sgd", 0.05, 5e-4, "cosine", 0.1, 0.0),
    "mobilenet": ("adamw", 2e-2, 0.02, "cosine", 0.15, 5.0),
    "efficientnet": ("adamw", 2e-2, 0.02, "cosine", 0.15, 5.0),
    "transformer": ("adamw", 2e-3, 0.05, "cosine", 0.2, 1.0),
    "other": ("sgd", 0.1, 5e-4, "cosine", 0.1, 0.0),
}
# Rate and decay where another optimizer is chosen than suits the family.
CHOSEN: dict[Literal["sgd", "adamw"], tuple[float, float]] = {
    "sgd": (0.1, 5e-4),
    "adamw": (8e-3, 0.02),
}

# What the short help shows of it.
ESSENTIAL = frozenset({"epochs", "batch_size", "learning_rate"})


class Training(BaseModel):
    """Hyper-parameters of one call of `fit`; None means: as suits the family."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )

    epochs: int = Field(default=10, ge=0, description="passes over the training images")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="images a step; by default 64, and of few images so many that an "
        "epoch has 20 steps, but 8 at least",
    )
    optimizer: Literal["sgd", "adamw"] | None = Field(
        default=None, description="by default as suits the family"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak rate; by default as suits the family"
    )
    weight_decay: float | None = Field(
        default=None, ge=0, description="never applied to biases and norms"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD")
    schedule: Literal["constant", "step", "cosine", "one-cycle"] | None = Field(
        default=None, description="of the learning rate; by default as suits the family"
    )
    warmup: OptionalShare = Field(
        default=None, ge=0, lt=1, description="share of all steps that warm up linearly"
    )
    label_smoothing: Share = Field(
        default=0.0, ge=0, lt=1, description="share of each label given to all classes"
    )
    mixup: float = Field(
        default=0.0, ge=0, description="Beta(a, a) that blends two images; 0 is off"
    )
    cutmix: float = Field(
        default=0.0, ge=0, description="Beta(a, a) that pastes one in another; 0 is off"
    )
    augment: Literal["auto", "none"] = Field(
        default="auto", description="crops and flips as suit the data, or none"
    )
    randaugment: int | None = Field(
        default=None, ge=1, le=30, description="magnitude of RandAugment"
    )
    progressive: OptionalShare = Field(
        default=None,
        gt=0,
        le=1,
        description="start at this share of the resolution and grow (EfficientNetV2)",
    )
    layer_decay: OptionalShare = Field(
        default=None,
        gt=0,
        le=1,
        description="each layer below the head learns at this share of the next",
    )
    freeze: tuple[str, ...] = Field(
        default=(), strict=False, description="modules whose weights stay, by name"
    )
    freeze_batchnorm: bool = Field(
        default=False, description="keep batch-norm statistics and scales as they are"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations to save memory"
    )
    init: Literal["he"] | None = Field(
        default=None, description="he: draw all weights anew (He et al. 2015)"
    )
    clip_norm: float | None = Field(
        default=None,
        ge=0,
        description="largest norm of the gradient; 0 is off, by default as suits the "
        "family",
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of the averaged weights"
    )
    patience: int | None = Field(
        default=None, ge=1, description="epochs without a better top-1 before stopping"
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="of the forward and backward pass"
    )

    def images_a_step(self, images: int) -> int:
        """The batch size for a training on so many images."""
        if self.batch_size is not None:
            return self.batch_size
        smallest, largest = BATCH_SIZES
        fitting = max(1, images // LEAST_STEPS)
        return min(largest, max(smallest, 1 << (fitting.bit_length() - 1)))

    def rate_share(self, batch_size: int, optimizer: Literal["sgd", "adamw"]) -> float:
        """What the rate at the reference batch is multiplied by.

        Adam's steps keep their size whatever the gradient's, so the smaller batches
        that few images get ask for the square root (Malladi et al. 2022). A batch size
        that was named scales linearly, as it always did.
        """
        _, largest = BATCH_SIZES
        if self.batch_size is None and optimizer == "adamw":
            return math.sqrt(batch_size * largest) / REFERENCE_BATCH
        return batch_size / REFERENCE_BATCH

    def training(
        self, family: Family, *, trained: bool = False, images: int | None = None
    ) -> "Training":
        """Only the training options, every default filled in.

        `trained`: the weights come from an earlier training and are to be tuned;
        `images`: how many there are to train on, None for plenty.
        """
        plenty = LEAST_STEPS * BATCH_SIZES[1]
        batch_size = self.images_a_step(plenty if images is None else images)
        optimizer, rate, decay, schedule, warmup, clip = DEFAULTS[family]
        if self.optimizer not in (None, optimizer):
            optimizer = self.optimizer
            rate, decay = CHOSEN[optimizer]
        if trained:
            rate *= TUNING_SHARE
        given = {name: getattr(self, name) for name in Training.model_fields}
        filled = {
            "batch_size": batch_size,
            "optimizer": optimizer,
            "learning_rate": rate * self.rate_share(batch_size, optimizer),
            "weight_decay": decay,
            "schedule": schedule,
            "warmup": warmup,
            "clip_norm": clip,
        }
        for name, value in filled.items():
            if given[name] is None:
                given[name] = value
        return Training(**given)
