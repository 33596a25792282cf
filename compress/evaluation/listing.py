"""What `compress models` lists: the zoo at once, any other architecture on demand."""

import fnmatch
from collections.abc import Iterator

from compress.context.console import Console
from compress.models.names import Resolved, matching
from compress.models.zoo import ZOO, Listed


def list_models(pattern: str | None, *, console: Console) -> tuple[Listed, ...]:
    """Architectures whose name matches `pattern`; None: those this project answers for.

    A pattern without wildcards matches every name that contains it. What cannot be
    counted (a network without a classifier) is left out and told.
    """
    if pattern is None:
        return ZOO
    known = {row.name: row for row in ZOO}
    return tuple(_rows(pattern, known, console))


def _rows(pattern: str, known: dict[str, Listed], console: Console) -> Iterator[Listed]:
    """Rows one by one, those of the zoo first."""
    plain = pattern.removeprefix("timm/").removeprefix("torchvision/")
    wanted = plain if any(sign in plain for sign in "*?[") else f"*{plain}*"
    yield from (row for name, row in known.items() if fnmatch.fnmatch(name, wanted))
    others = [
        found
        for found in matching(pattern)
        if found.name not in known or known[found.name].source != found.source
    ]
    with console.progress("count", len(others)) as advance:
        for found in others:
            row = _counted(found)
            advance(1, found.name)
            if row is None:
                console.detail(f"{found.canonical}: is no image classifier; left out")
            else:
                yield row


def _counted(found: Resolved) -> Listed | None:
    """Count an architecture on the meta device, with 1000 classes."""
    import torch

    from compress.evaluation.costs import count_macs, count_params
    from compress.models import meta
    from compress.models.construct import skeleton
    from compress.models.spec import ModelSpec

    spec = ModelSpec(name=found.canonical)
    try:
        with torch.device("meta"):
            net = skeleton(spec, classes=1000, size=found.size)
    except Exception:  # noqa: BLE001  # some of timm want libraries not here
        return None
    if meta.outputs(net, found.size) is None:
        return None
    return Listed(
        found.canonical,
        count_params(net),
        count_macs(net, size=found.size),
        found.size,
        found.source,
    )
