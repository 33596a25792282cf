"""The network of a run and each of its files, asked the same images, pair by pair."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import combinations
from operator import length_hint
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import nn

from compress.checked import record_of_file
from compress.data.batches import evaluation_batches
from compress.data.catalogue import find
from compress.data.spec import DataSpec
from compress.folder import REPORT
from compress.int8.divergence import first_difference
from compress.int8.simulate import QuantizedNet
from compress.int8.symmetric import on_grids_of
from compress.job import Job, cache_folder
from compress.models.model import Model
from compress.models.opening import open_model
from compress.models.spec import CodePath, ModelSpec
from compress.parity import file_answers, network_answers, tells_classes, thinned
from compress.passes import Counted, passed
from compress.report.records import Record, inner, sentences, text
from compress.report.report import Report
from compress.report.units import percent
from compress.screen import Screen
from compress.stand_in import answering
from export.verify import SQNR_FLOORS_DB, Parity, Scores, compare, parity_checks
from runtime.artifact import Artifact
from runtime.backends.table import backend
from runtime.contained import try_out
from runtime.errors import Exit, RecipeError
from runtime.printable import printable
from runtime.session import open_session

NETWORK: Final = "network"
_BATCH: Final = 32
# Images for a look inside; a wrong weight shows on the first.
_LOOKED_AT: Final = 4
_OURS: Final = ("model", "student")
Ask = Callable[[Scores], Scores]


class Asked(NamedTuple):
    """Something that answers images [n, 3, size, size], and its name.

    `net` or `file` are known where one can look into it: a quantised network, an INT8
    file.
    """

    name: str
    ask: Ask
    net: QuantizedNet | None = None
    file: Artifact | None = None
    floor_db: float = 0.0


@dataclass(frozen=True)
class Pair:
    """Two that were asked the same images, and how far they agree."""

    a: str
    b: str
    parity: Parity
    floor_db: float  # least SQNR; where both outputs are no classes, all there is
    first_difference: str | None = None  # the operator after which they part

    def agrees(self, threshold: float) -> bool:
        """Whether they answer alike often enough, with scores that are close enough."""
        checks = parity_checks(
            self.parity,
            file=self.b,
            threshold=threshold,
            floor_db=self.floor_db,
            default=False,
        )
        return all(check.kept for check in checks)

    def as_record(self) -> dict[str, object]:
        """The entry of the contract's `pairs`."""
        return {
            "a": self.a,
            "b": self.b,
            **self.parity.as_record(),
            "first_difference": self.first_difference,
        }


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The answer of `verify`."""

    run: str
    threshold: float
    pairs: tuple[Pair, ...]
    remarks: tuple[str, ...] = ()  # what speaks against files on other devices

    @property
    def failures(self) -> tuple[Pair, ...]:
        """Pairs that agree on fewer images than asked for."""
        return tuple(pair for pair in self.pairs if not pair.agrees(self.threshold))

    @property
    def exit_code(self) -> int:
        """Parity failed if any pair did."""
        return Exit.PARITY if self.failures else Exit.FIT

    def as_json(self) -> str:
        """{pairs[{a, b, images, argmax_agreement, max_abs_error, sqnr_db, …}]}."""
        record = {
            "pairs": [pair.as_record() for pair in self.pairs],
            "remarks": list(self.remarks),
        }
        return json.dumps(record, indent=2, allow_nan=False)

    def as_text(self) -> str:
        """A line a pair, then the verdict."""
        lines = []
        for pair in self.pairs:
            found = pair.parity
            noise = (
                "bit-equal" if found.sqnr_db is None else f"SQNR {found.sqnr_db:.1f} dB"
            )
            alike = f"{found.images} images"
            if found.argmax_agreement is not None and found.interval is not None:
                alike = (
                    f"{percent(found.argmax_agreement)} of {found.images} images alike "
                    f"(95 % sure of {percent(found.interval[0])})"
                )
            lines.append(f"{printable(pair.a)}\n  {printable(pair.b)}")
            lines.append(
                f"    {alike}, {noise}, largest difference {found.max_abs_error:.3g}"
            )
            if pair.first_difference:
                place = printable(pair.first_difference)
                lines.append(f"    they part at {place}")
        asked = percent(self.threshold)
        lines += [f"remark: {printable(each)}" for each in self.remarks]
        lines.append(
            f"verdict: {len(self.failures)} of {len(self.pairs)} pairs do not agree on "
            f"{asked} of the images with scores as close as their format allows"
            if self.failures
            else f"verdict: every pair agrees on at least {asked}"
        )
        return "\n".join(lines)


def verify(  # noqa: PLR0913  # what, on what, and the flags every verb has
    report: Report,
    data: DataSpec | None,
    *,
    factory: CodePath | None,
    images: int,
    threshold: float,
    threads: int,
    runtime: str | None,
    seed: int,
    screen: Screen,
) -> Verification:
    """Ask the network of a run and each of its files; `data` as in the run by default.

    report: of the run, whose files were found to be what it wrote (`finished.whole`).
    `factory` builds the network of a run whose model was the user's own. `runtime`
    executes the files that it can, instead of what their formats are run by; where it
    can execute none, or is not known, a RecipeError.

    Float files are compared with the float network, INT8 files with the quantised one
    and with each other.
    """
    run = report.folder
    model = _model_of(run, report, factory, seed, screen)
    spec = data or _data_of(report)
    catalogue = find(spec, seed=seed, screen=screen, cache=cache_folder())
    shown = thinned(catalogue.images(catalogue.asked(model.preprocess)), images)

    def batches() -> Iterator[Scores]:
        given = evaluation_batches(shown, _BATCH)
        prepared = (model.prepare(each.pixels).contiguous().numpy() for each in given)
        return Counted(prepared, length_hint(given))

    classes = tells_classes(model, catalogue)
    found: list[Pair] = []
    with ExitStack() as opened:
        for one, other in _pairs(report, model, opened, threads, runtime):
            screen.tell(f"verify: {one.name} and {other.name}")
            asked = passed("verify", batches())
            parity = compare(
                one.ask, other.ask, asked, name=other.name, classes=classes
            )
            pair = Pair(one.name, other.name, parity, other.floor_db)
            if not pair.agrees(threshold) and one.net and other.file:
                few = torch.from_numpy(next(batches())[:_LOOKED_AT])
                at = first_difference(one.net, other.file, few)
                pair = replace(pair, first_difference=at)
            found.append(pair)
    if not found:
        raise RecipeError(
            f"{run}: has no files of its model "
            f"{f'that {runtime} executes' if runtime else 'to compare'}; "
            "export some first"
        )
    return Verification(
        run=str(run),
        threshold=threshold,
        pairs=tuple(found),
        remarks=tuple(_remarks(report)),
    )


def _remarks(report: Report) -> Iterator[str]:
    """What an ARM core would make of files that are for one, or for any."""
    from export.arm_rules import overflow_of_file

    for record in report.artifacts:
        path = report.folder / text(record, "path")
        for_arm = text(record, "target") in {"", "arm64"}
        if text(record, "dtype") != "int8" or path.suffix != ".onnx" or not for_arm:
            continue
        if sentence := overflow_of_file(path):
            yield sentence


def _source(report: Report, key: str) -> str:
    """Where a part of the recipe stands, for an error."""
    return f"{report.folder / REPORT}: recipe.{key}"


def _data_of(report: Report) -> DataSpec:
    """The images of a run; nothing is downloaded because a record says so."""
    recorded, source = inner(report.recipe, "data"), _source(report, "data")
    spec = record_of_file(DataSpec, recorded, source=source)
    return spec.model_copy(update={"download": False})


def _model_of(
    run: Path, report: Report, factory: CodePath | None, seed: int, screen: Screen
) -> Model:
    """The model that a run ended with, or began with if it has no stages.

    Whose code builds it is the user's word alone, never the record's.
    """
    job = Job(folder=run, seed=seed, screen=screen)
    catalogue_spec = _data_of(report)
    catalogue = find(catalogue_spec, seed=seed, screen=screen, cache=cache_folder())
    if any(run.glob("*/model.json")):
        spec = ModelSpec(name=str(run), factory=factory)
    else:
        recorded, source = inner(report.recipe, "model"), _source(report, "model")
        spec = record_of_file(ModelSpec, recorded, source=source)
        spec = spec.model_copy(update={"factory": factory})
    return open_model(spec, catalogue, job, size=catalogue_spec.size, adapt=False)


def _pairs(
    report: Report,
    model: Model,
    opened: ExitStack,
    threads: int,
    runtime: str | None,
) -> Iterator[tuple[Asked, Asked]]:
    """Each file with the network that it was made of, and INT8 files with each other.

    A file that leaves parts in float is held against the network that does the same.
    """
    int8: list[Asked] = []
    for record in report.artifacts:
        if text(record, "role") not in _OURS:
            continue
        path = report.folder / text(record, "path")
        artifact = Artifact.read(path)
        if runtime is not None and artifact.format not in backend(runtime).formats:
            continue
        try_out(artifact)
        session = (
            answering(artifact, threads=threads)
            if runtime is None
            else open_session(artifact, threads=threads, runtime=runtime)
        )
        opened.enter_context(closing(session))
        net = _reference(model.net, record)
        known = net if isinstance(net, QuantizedNet) else None
        inside = artifact if known else None
        floor_db = SQNR_FLOORS_DB[artifact.dtype or "float32"]
        name = path.name if runtime is None else f"{path.name} in {session.runtime}"
        file = Asked(name, file_answers(session), file=inside, floor_db=floor_db)
        yield Asked(NETWORK, network_answers(net), net=known), file
        if text(record, "dtype") == "int8":
            int8.append(file)
    yield from combinations(int8, 2)


def _reference(net: nn.Module, record: Record) -> nn.Module:
    """The network that a file was made of."""
    if not isinstance(net, QuantizedNet):
        return net
    if text(record, "dtype") != "int8":
        return net.graph
    left = frozenset(sentences(inner(record, "placement"), "left_float"))
    made = on_grids_of(net, inner(record, "grids"))
    return QuantizedNet(made.graph, made.scheme.without(left))
