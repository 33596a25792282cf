"""Memoization by object: what was computed of one, kept for as long as it lives."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

_Value = TypeVar("_Value")


class Memo:
    """Values by what they were computed of, held weakly, and a further key."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: WeakKeyDictionary[Any, dict[Hashable, Any]] = WeakKeyDictionary()

    def known(self, subject: object, key: Hashable) -> bool:
        """Whether a value is there."""
        return key in self._known.get(subject, {})

    def value(
        self, subject: object, key: Hashable, compute: Callable[[], _Value]
    ) -> _Value:
        """What `compute` gives, which is called once for a subject and a key."""
        values: dict[Hashable, _Value] = self._known.setdefault(subject, {})
        if key not in values:
            values[key] = compute()
        return values[key]
