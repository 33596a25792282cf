"""What a call gives back: a network with all that is known of it, or what was found."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from compress.data.dataset import Dataset
from compress.evaluation.costs import Costs, costs_of
from compress.models.checkpoint import save_model
from compress.models.model import Model
from compress.models.network import size_bytes_of
from compress.models.stage_result import Findings
from export.parity import Parity
from runtime.artifact import Artifact


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """A network, how it is fed, what was done to it, and what that found out.

    net: an ordinary nn.Module of float32 [n, 3, size, size] images, normalized as
    `model.preprocess` says, in eval mode, on the CPU; findings: of the last stage, as a
    run's folder keeps them; data: what it was made on, None where it was loaded.
    """

    model: Model
    findings: Findings | None = None
    data: Dataset | None = None

    def __repr__(self) -> str:
        """In a line; a network and its data would fill a console."""
        model = self.model
        size = size_bytes_of(model.net)
        return f"Result({model.spec.name}, {model.precision}, {size:,} bytes)"

    @property
    def net(self) -> nn.Module:
        """The network itself; train it, ask it, hand it to any function here."""
        return self.model.net

    @property
    def costs(self) -> Costs:
        """Parameters, MACs and bytes, counted for one image."""
        return costs_of(self.model)

    def save(self, folder: str | Path) -> Path:
        """Write weights and record into `folder`: safetensors and JSON, no pickle.

        Any verb of the command line takes it, and `compress.load` gives it back; a
        class of your own is not in it, so give `load` a fresh network then.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if self.findings is not None:
            self.findings.write(place)
        save_model(self.model, place)
        return place


@dataclass(frozen=True, kw_only=True, repr=False)
class Exported:
    """A file that was written, and how far it agrees with its network.

    parity: against the network that it was made of; changed: an INT8 file against its
    float network, None for others.
    """

    artifact: Artifact
    parity: Parity
    changed: Parity | None = None

    def __repr__(self) -> str:
        """In a line."""
        return f"Exported({self.path}, {self.parity.as_text()})"

    @property
    def path(self) -> Path:
        """Where the file is; its facts lie beside it as .json."""
        return self.artifact.path


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How far two agree on the same images, and how good each of them is.

    a, b: top-1 as a fraction, or what the metric says; None where the labels are not
    of their classes.
    """

    parity: Parity
    a: float | None
    b: float | None
