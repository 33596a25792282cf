"""Images in class folders: train/CLASS/x.jpg with val/ or test/, or CLASS/x.jpg."""

from collections import defaultdict
from collections.abc import Iterable

from compress.context.console import Console
from compress.data.image_source import Contents, is_image
from compress.data.listing import Found, Place, alike, divided, listed, named, several
from runtime.errors import InputRejectedError

_TRAIN = ("train", "training")
_HELD_OUT = ("val", "valid", "validation", "test", "testing")  # the first one wins

Classes = dict[str, list[str]]  # class folder -> its images; empty ones included


def _images(contents: Contents) -> list[str]:
    """Keep the files that are images by their names."""
    return [name for name in contents.files if is_image(name)]


def _wrapping(images: Iterable[str]) -> str:
    """Find the leading folder that a zip of a folder adds: 'flowers/' or ''."""
    heads = {name.partition("/")[0] for name in images}
    deep = all(name.count("/") >= 2 for name in images)  # noqa: PLR2004  # x/CLASS/y
    head = next(iter(heads), "")
    if len(heads) != 1 or not deep or head.lower() in (*_TRAIN, *_HELD_OUT):
        return ""
    return f"{head}/"


def has_classes(contents: Contents) -> bool:
    """Whether images lie in class folders (and not flat, beside a list)."""
    images = _images(contents)
    start = len(_wrapping(images))
    return any("/" in name[start:] for name in images)


def _classes(contents: Contents, start: str) -> Classes:
    """Sort everything below `start` by its first folder."""
    classes: Classes = defaultdict(list)
    for folder in contents.folders:
        kind = folder.removeprefix(start).partition("/")[0]
        if folder.startswith(start) and kind:
            classes[kind] = []
    for name in contents.files:
        kind, inside, _ = name.removeprefix(start).partition("/")
        if name.startswith(start) and inside:
            classes[kind].extend([name] if is_image(name) else [])
    return dict(classes)


def _splits(
    where: str, contents: Contents, start: str, console: Console
) -> dict[str, Classes]:
    """Find 'train' and 'val', or 'all' if the folders below `start` are classes."""
    tops = _classes(contents, start)
    spelt = {top.lower(): top for top in sorted(tops)}
    own = {
        part: next(spelt[word] for word in words if word in spelt)
        for part, words in (("train", _TRAIN), ("val", _HELD_OUT))
        if any(word in spelt for word in words)
    }
    parts = {part: _classes(contents, f"{start}{top}/") for part, top in own.items()}
    spare = sorted(set(tops) - set(own.values()))
    if spare and not any(parts.values()):  # no split, or a class called "test"
        return {"all": tops}
    for part, classes in parts.items():
        if not classes:
            raise InputRejectedError(
                f"{where}: {own[part]}/ has no class folders; expected "
                f"{own[part]}/CLASS/*.jpg"
            )
    if spare:
        console.tell(f"{where}: {named(spare)} is not used")
    return parts


def from_folders(place: Place, *, fraction: float, console: Console) -> Found:
    """List a source by its class folders; `fraction` is held out if it has no split."""
    source, where = place.source, place.where
    contents = source.contents()
    images = _images(contents)
    if not images:
        raise InputRejectedError(
            f"{where}: holds no images; expected train/CLASS/*.jpg with val/ or test/, "
            "or CLASS/*.jpg, or a labels.csv"
        )
    if not has_classes(contents):
        raise InputRejectedError(
            f"{where}: holds {len(images)} images but no class folders; put them into "
            "CLASS/ folders or list them in a labels.csv (path,label)"
        )
    parts = _splits(where, contents, _wrapping(images), console)
    for classes in parts.values():
        empty = [kind for kind, names in classes.items() if not names]
        if empty:
            raise InputRejectedError(
                f"{where}: class folder {named(empty)} has no images; add some or "
                "remove the folder"
            )
    if "train" in parts and "val" in parts:
        alike(where, parts["train"], parts["val"])
    kinds = tuple(sorted(next(iter(parts.values()))))
    several(where, kinds)
    lists = {
        part: listed(
            source,
            ((file, kind) for kind, names in classes.items() for file in names),
            kinds,
        )
        for part, classes in parts.items()
    }
    found = Found(
        name=place.name, classes=kinds, train=lists.get("train"), val=lists.get("val")
    )
    if found.val is None:
        whole = lists["all"] if "all" in lists else lists["train"]
        console.tell(f"{where}: has no val/ or test/; {fraction:.0%} is held out")
        return divided(where, whole, found, fraction)
    if found.train is None:
        console.tell(f"{where}: has no train/; it can be used for evaluation only")
    return found
