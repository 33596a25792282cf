"""YAML as plain data: no tags, nothing that expands, and errors that name the line.

Where an alias stands for a list of aliases, a kilobyte describes more than memory
holds. So the events are counted before anything is made of them, as if each alias were
written out.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import yaml

from runtime.errors import RecipeError
from runtime.files import read_bytes

# A recipe is small; a file beyond this is something else (10 kB is a long recipe).
LARGEST_BYTES: Final = 1_000_000
# Values, aliases written out; a recipe has some hundreds.
_MOST_VALUES: Final = 20_000
_DEEPEST: Final = 20
_MOST_DIGITS: Final = 40
_DIGITS: Final = re.compile(r"[-+]?[0-9a-fA-FxXob_:.]+")


class _Loader(yaml.SafeLoader):
    """Plain data, where no date is meant and no key stands twice."""


# A recipe has no dates, and PyYAML answers month 13 with an error of its own.
_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    """A mapping; of two equal keys it cannot be told which is meant."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise _wrong(f"key {key.value!r:.60} is there twice", key)
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def yaml_value(path: Path) -> object:
    """What the YAML file at `path` holds.

    Raises RecipeError, which names the line, for what is no YAML, or no plain data.
    """
    content = read_bytes(path, largest=LARGEST_BYTES)
    try:
        text = content.decode("utf-8-sig")
        count = _Count()
        for event in yaml.parse(text, _Loader):
            count.take(event)
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except UnicodeDecodeError as error:
        line, reason = content.count(b"\n", 0, error.start) + 1, "it is not UTF-8"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, reason = mark.line + 1 if mark else 1, error.problem or "it is no YAML"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"character U+{error.character:04X} is not allowed"
    except (ValueError, RecursionError) as error:
        line, reason = 1, " ".join(str(error).split())
    raise RecipeError(f"{path}: not readable as YAML, line {line}: {reason}")


@dataclass
class _Count:
    """How much the events so far stand for, every alias written out."""

    values: int = 0
    sizes: dict[str, int] = field(default_factory=dict)  # of what each anchor names
    opened: list[tuple[str | None, int]] = field(default_factory=list)

    def take(self, event: yaml.Event) -> None:
        """Count one more; raises what names its line where it is too much."""
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.opened.pop()
            if anchor is not None:
                self.sizes[anchor] = self.values - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                raise _wrong(f"*{event.anchor:.40} names nothing before it", event)
            self.values += self.sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            self.node(event)
        if len(self.opened) > _DEEPEST:
            raise _wrong(f"it is nested deeper than {_DEEPEST} levels", event)
        if self.values > _MOST_VALUES:
            raise _wrong(f"it has over {_MOST_VALUES} values, aliases counted", event)

    def node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        """Count a value, or the beginning of a list or mapping."""
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise _wrong(f"it has the tag {tag:.40}; leave tags out", event)
        if isinstance(event, yaml.CollectionStartEvent):
            self.opened.append((event.anchor, self.values))
        else:
            _check_scalar(event)
            if event.anchor is not None:
                self.sizes[event.anchor] = 1
        self.values += 1


def _check_scalar(event: yaml.ScalarEvent) -> None:
    """A number has not more digits than any number has."""
    plain = event.style is None and _DIGITS.fullmatch(event.value)
    if plain and len(event.value) > _MOST_DIGITS:
        digits = len(event.value)
        raise _wrong(f"a number of {digits} digits; allowed: {_MOST_DIGITS}", event)


def _wrong(reason: str, at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    """What is wrong, and where."""
    mark = cast("yaml.Mark | None", at.start_mark)
    return yaml.MarkedYAMLError(problem=reason, problem_mark=mark)
