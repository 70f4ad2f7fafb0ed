"""Typed addresses and views of structures, kept by address.

`Pointer.at` finds the one object of a class for an address; who uses a class all the time asks for
its `Instances` or `Views` once, and indexes them.
"""

from __future__ import annotations

from typing import Any

_KEPT = 1 << 16


class Instances(dict[int, Any]):
    """`instances[va]` is the typed address `va` of one class in one memory."""

    __slots__ = ("_cls", "_memory")

    def __init__(self, memory: Any, cls: Any) -> None:
        super().__init__()
        self._memory, self._cls = memory, cls

    def __missing__(self, va: int) -> Any:
        if len(self) >= _KEPT:
            self.clear()
        made = self[va] = self._cls._new(self._memory, va)
        return made


class Pointers(dict[Any, dict[int, Any]]):
    """The `Instances` of every class; they stay the same objects when they are forgotten."""

    __slots__ = ("_memory", "_views")

    def __init__(self, memory: Any) -> None:
        super().__init__()
        self._memory = memory
        self._views: dict[Any, list[Views]] = {}

    def __missing__(self, cls: Any) -> Instances:
        found = self[cls] = Instances(self._memory, cls)
        return found

    def views(self, cls: Any) -> Views:
        """Views of a structure, by address."""
        found = Views(self[cls])
        self._views.setdefault(cls, []).append(found)
        return found

    def revoke(self, taken: list[tuple[Any, Any]]) -> None:
        """Forget structures and let their views check: the memory behind them is taken back."""
        kept = self._views
        for structure, view in taken:
            view.__class__ = view._revoked
            structure.__dict__.pop("_v", None)
            cls, va = structure.__class__, int(structure)
            self[cls].pop(va, None)
            if cls in kept:
                for views in kept[cls]:
                    views.pop(va, None)

    def forget(self) -> None:
        """Memory has become guarded: what was taken for raw may not be."""
        for kept in (*self.values(), *(v for each in self._views.values() for v in each)):
            kept.clear()


class Views(dict[int, Any]):
    """`views[va]` is what `_v` of a structure at `va` is: its fields by their paths."""

    __slots__ = ("_instances",)

    def __init__(self, instances: dict[int, Any]) -> None:
        super().__init__()
        self._instances = instances

    def __missing__(self, va: int) -> Any:
        structure = self._instances[va]
        view = structure._v
        if "_v" in structure.__dict__:  # one of guarded memory is made for each use
            if len(self) >= _KEPT:
                self.clear()
            self[va] = view
        return view
