"""Small data sets made on the spot, and what a source said about them."""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from compress.context.console import Console
from compress.data.dataset import Catalog, find
from compress.data.spec import DataSpec

Find = Callable[..., Catalog]


def image(seed: int, size: tuple[int, int] = (12, 9), suffix: str = "PNG") -> bytes:
    """Make an image file of noise; `size` is width, height."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, suffix)
    return stream.getvalue()


def tree(root: Path, counts: Mapping[str, int]) -> Path:
    """Class folders below `root`: {'train/cat': 3} makes train/cat/0.png to 2.png."""
    for row, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            content = image(row * 1000 + number)
            (root / folder / f"{number}.png").write_bytes(content)
    return root


def zipped(folder: Path, path: Path) -> Path:
    """Put the same files into a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def table(path: Path, *rows: tuple[str, ...]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture
def make() -> SimpleNamespace:
    """Make small data sets: make.image, make.tree, make.zip, make.table."""
    return SimpleNamespace(image=image, tree=tree, zip=zipped, table=table)


@pytest.fixture
def look(tmp_path: Path) -> Find:
    """`find` with a cache of the test's own."""

    def looked(source: str | Path, *, seed: int = 0, **fields: object) -> Catalog:
        spec = DataSpec.model_validate({"source": str(source), **fields})
        return find(
            spec,
            seed=seed,
            console=Console(verbosity="verbose"),
            cache=tmp_path / "cache",
        )

    return looked
