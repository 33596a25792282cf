"""What a recipe may say about data; plain data, no torch."""

from pydantic import BaseModel, ConfigDict, Field


class DataSpec(BaseModel):
    """Where images and labels come from, and how many of them are used."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str = Field(
        default="digits",
        description="digits, folder:PATH, csv:PATH, a .zip, cifar10, cifar100, "
        "fashion-mnist or imagenet",
    )
    size: int | None = Field(
        default=None, ge=8, le=1024, description="side of the images, pixels"
    )
    root: str | None = Field(
        default=None, description="where torchvision's data sets are kept"
    )
    download: bool = Field(
        default=False, description="allow the network for a torchvision data set"
    )
    val_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share held out where the source has no split of its own",
    )
    train_images: int | None = Field(
        default=None, ge=1, description="use a seeded, stratified subset of this size"
    )
    exif: bool | None = Field(
        default=None,
        description="turn images upright as their EXIF orientation says, or leave them "
        "as stored; by default as the network was trained, a new one upright",
    )


def from_source(found: object) -> object:
    """Let a recipe say `data: digits` for `data: {source: digits}`."""
    return {"source": found} if isinstance(found, str) else found
