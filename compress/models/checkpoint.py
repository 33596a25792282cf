"""A model at rest: safetensors and JSON, never pickle; the folder any verb accepts.

A network that was cut is its architecture's name and what was done to it
(compress.models.surgery): what cut it is not needed to load it.
"""

import json
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.models.memory_format import memory_format_of
from compress.models.model import Model
from compress.models.record import check_plan, model_record
from compress.models.surgery.rebuild import check_runs
from compress.models.surgery.record import UNTOUCHED, Surgery
from compress.recipe.stage import Precision
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import digest_of, read_json, sha256_of, write_json, written_whole
from runtime.plain_json import json_record

FORMAT = 1  # 1: spec, classes, preprocess, sha256 of the tensors
TENSORS = "model.safetensors"
RECORD = "model.json"


def save_model(model: Model, folder: Path) -> None:
    """Write `model` into `folder`; the record comes last and makes it valid."""
    tensors = folder / TENSORS
    write_tensors(tensors, state_of(model.net))
    write_json(
        folder / RECORD,
        {
            "format": FORMAT,
            "spec": model.spec.model_dump(exclude={"ema"}) | {"weights": None},
            "factory": model.spec.factory,
            "keras": model.spec.plan,
            "surgery": _surgery_record(model.surgery),
            "classes": list(model.classes),
            "preprocess": model.preprocess.as_record(),
            "int8": _int8_record(model.net),
            "sha256": sha256_of(tensors),
        },
        sealed=True,
    )


def is_model(folder: Path) -> bool:
    """Whether `folder` holds what `save_model` writes."""
    return (folder / RECORD).is_file()


def saved_classes(folder: Path) -> tuple[str, ...]:
    """The classes that a saved model tells apart; its weights are not read."""
    record = read_json(folder / RECORD)
    return model_record(record, source=str(folder / RECORD)).classes


def saved_precision(folder: Path) -> Precision:
    """Whether a saved model computes in float or in INT8; its weights are not read."""
    return "float" if read_json(folder / RECORD).get("int8") is None else "int8"


def load(folder: Path | str) -> nn.Module:
    """The network of a saved model, in eval mode, on the CPU; see `load_model`.

    For programs that want a module and no more: `compress.models.checkpoint.load("run/01-…")`
    takes float32 [n, 3, size, size] images, normalized as model.json says.
    """
    return load_model(Path(folder)).net


def load_model(
    folder: Path, *, factory: str | None = None, sealed: bool = False
) -> Model:
    """Read back what `save_model` wrote.

    A model that came from the user's own factory needs it again: code is never taken
    from a file. Raises InputRejectedError where bytes and record disagree, or where
    `sealed` is asked for and the record, as an older edgepress wrote it, is not.
    """
    from compress.models.build import skeleton
    from compress.models.proportion import check_proportion

    record = read_json(folder / RECORD, sealed=sealed)
    if (number := record.get("format")) != FORMAT:
        raise InputRejectedError(
            f"{folder / RECORD}: format {number}, this edgepress reads {FORMAT}; "
            "use the edgepress that wrote it"
        )
    source = str(folder / RECORD)
    found = model_record(record, source=source)
    spec, preprocess = found.specified(source), found.prepared(source)
    classes = found.classes
    if found.factory is not None and factory is None:
        raise RecipeError(
            f"{folder}: was built by {found.factory!r}; name it again with --model-file"
        )
    tensors = folder / TENSORS
    if not tensors.is_file() or sha256_of(tensors) != found.sha256:
        raise InputRejectedError(
            f"{tensors}: missing, truncated or changed since it was written; "
            "make it again (in a run, remove the folder and give the command again)"
        )
    spec = spec.model_copy(update={"factory": factory})
    try:
        check_proportion(
            spec, classes=len(classes), size=preprocess.size, tensors=tensors
        )
        check_plan(spec, len(classes), preprocess.size)
        net = skeleton(spec, classes=len(classes), size=preprocess.size)
        if spec.surgery != UNTOUCHED:
            check_runs(net, size=preprocess.size)
    except InputRejectedError as error:
        raise InputRejectedError(f"{folder / RECORD}: {error}") from error
    memory_format = memory_format_of(net, size=preprocess.size)
    state = read_tensors(tensors)
    if found.int8 is not None:
        from compress.int8.at_rest import rebuilt

        net = rebuilt(net, found.int8, state, size=preprocess.size, name=spec.name)
    else:
        load_exactly_(net, state, origin=str(tensors))
    return Model(
        spec=spec,
        net=net.eval(),
        preprocess=preprocess,
        classes=classes,
        trained=True,
        memory_format=memory_format,
    )


def load_exactly_(net: nn.Module, tensors: dict[str, Tensor], *, origin: str) -> None:
    """Load `tensors` into `net`; one name or shape amiss is an error that names it."""
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1:3]).strip()
        raise InputRejectedError(
            f"{origin}: does not fit {type(net).__name__}: {reason}"
        ) from error


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """Everything that was learnt or decided about `net`, by name."""
    from compress.int8.at_rest import tensors_of
    from compress.int8.simulate import QuantizedNet

    return tensors_of(net) if isinstance(net, QuantizedNet) else detached(net)


def _surgery_record(surgery: Surgery) -> object:
    """Plain data; None for a network that is as its architecture says."""
    return None if surgery == UNTOUCHED else surgery.model_dump(mode="json")


def _int8_record(net: nn.Module) -> object:
    """What a quantized network needs beside its tensors; None for another one."""
    from compress.int8.at_rest import record_of
    from compress.int8.simulate import QuantizedNet

    return record_of(net) if isinstance(net, QuantizedNet) else None


def detached(net: nn.Module) -> dict[str, Tensor]:
    """The state of `net` on the CPU, each tensor contiguous and its own memory."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in net.state_dict().items()
    }


def weights_digest(model: Model) -> str:
    """A name for exactly this network with exactly these weights, in hex."""
    import hashlib

    digest = hashlib.sha256(
        digest_of(model.spec.model_dump(exclude={"weights", "ema"})).encode()
    )
    digest.update(digest_of(model.spec.plan).encode())
    digest.update(digest_of(_surgery_record(model.surgery)).encode())
    if model.spec.factory is not None:  # its code decides what the weights compute
        code = Path(model.spec.factory.rpartition(":")[0])
        digest.update(sha256_of(code).encode())
    for name, tensor in sorted(state_of(model.net).items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(
    path: Path, tensors: dict[str, Tensor], record: dict[str, object] | None = None
) -> None:
    """Write tensors, and a record beside them in the same file, whole or not at all.

    With a record comes a checksum of it all, which reading holds it against.
    """
    notes = None
    if record is not None:
        text = json.dumps(record, sort_keys=True)
        notes = {"record": text, "crc32": str(_checksum(tensors, text))}
    with written_whole(path) as draft:
        try:
            save_file(tensors, draft, metadata=notes)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def _checksum(tensors: dict[str, Tensor], text: str) -> int:
    """CRC-32 of a record and every tensor; quick, since states are saved often."""
    total = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(name.encode(), total)
        content = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        total = zlib.crc32(content.data, total)
    return total


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file."""
    return read_tensors_and_record(path)[0]


def read_tensors_and_record(
    path: Path,
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Every tensor of a safetensors file, and the record written beside them.

    A file that cannot be read, or was changed since, is an InputRejectedError.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  # no mapping
            notes = stream.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputRejectedError(
            f"{path}: not a whole safetensors file: {error}"
        ) from error
    expected = notes.get("crc32")
    if expected is not None and expected != str(_checksum(tensors, notes["record"])):
        raise InputRejectedError(f"{path}: was changed since it was written")
    return tensors, json_record(notes.get("record", "{}"), source=str(path))
