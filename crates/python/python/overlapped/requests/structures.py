"""Containers: a dict that ignores the case of its keys, and one whose keys are attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar, overload

V = TypeVar("V")
D = TypeVar("D")


class CaseInsensitiveDict(MutableMapping[str, V]):
    """A mapping of strings that ignores the case of keys, and remembers the case in which each was last set."""

    def __init__(self, data: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **kwargs: Any) -> None:
        self._store: dict[Any, tuple[Any, Any]] = {}
        if data is not None or kwargs:
            self.update({} if data is None else data, **kwargs)

    def __setitem__(self, key: Any, value: V) -> None:
        self._store[key.lower()] = (key, value)

    def __getitem__(self, key: Any) -> V:
        return self._store[key.lower()][1]  # type: ignore[no-any-return]

    def __delitem__(self, key: Any) -> None:
        del self._store[key.lower()]

    def __contains__(self, key: Any) -> bool:
        return key.lower() in self._store

    @overload
    def get(self, key: Any) -> V | None: ...

    @overload
    def get(self, key: Any, default: V | D) -> V | D: ...

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        found = self._store.get(key.lower())
        return default if found is None else found[1]

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._store.values())

    def __len__(self) -> int:
        return len(self._store)

    def pairs(self) -> Iterable[tuple[Any, Any]]:
        """The items, at less cost than `items`."""
        return self._store.values()

    def lower_items(self) -> Iterator[tuple[Any, Any]]:
        """The items, with keys in lower case."""
        return ((lower, value) for lower, (_, value) in self._store.items())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.lower_items()) == dict(CaseInsensitiveDict(other).lower_items())

    def copy(self) -> CaseInsensitiveDict[V]:
        """A copy that shares no state."""
        copied: CaseInsensitiveDict[V] = CaseInsensitiveDict()
        copied._store = self._store.copy()
        return copied

    def __repr__(self) -> str:
        return str(dict(self.items()))


class LookupDict(dict):  # type: ignore[type-arg]
    """A dict whose items are its attributes; what is missing is None."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        super().__init__()

    def __repr__(self) -> str:
        return f"<lookup '{self.name}'>"

    def __getitem__(self, key: Any) -> Any:
        return self.__dict__.get(key)

    # For the type checker: any name may be one.
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name!r}")

    def get(self, key: Any, default: Any = None) -> Any:
        return self.__dict__.get(key, default)
