"""Structures: declared by annotations, laid out as the x64 ABI does or at given offsets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from typing import cast as typing_cast

from ntsim.abi.fields import GuardedView, make_attribute, make_view, revocable
from ntsim.abi.memory import MASK64, Memory
from ntsim.abi.types import (
    REGISTRY,
    ArrayType,
    Pointer,
    allocate_variable,
    check_type,
    prepare,
    resolve,
)


class at:
    """The offset of a field, in bytes from the start of its structure."""

    __slots__ = ("offset",)

    offset: int

    def __new__(cls, offset: int) -> Any:
        self = super().__new__(cls)
        self.offset = offset
        return self


class array:
    """A field of `length` items of the named type at `offset`."""

    __slots__ = ("item", "length", "offset")

    item: str
    length: int
    offset: int

    def __new__(cls, item: str, length: int, offset: int) -> Any:
        self = super().__new__(cls)
        self.item, self.length, self.offset = item, length, offset
        return self


class _StructureMeta(type):
    """Makes `KEVENT * 4` an array type and `KEVENT()` storage."""

    def __mul__(cls, length: int) -> ArrayType:
        structure = typing_cast("type[Structure]", cls)
        if not structure._ready:
            structure._prepare()
        return ArrayType(structure, length)

    def __call__(cls, *arguments: Any) -> Any:
        if arguments:
            raise TypeError(
                f"{cls.__name__}() takes no arguments: it is storage for one {cls.__name__}; "
                f"to view an address as one write cast(address, P{cls.__name__})"
            )
        return allocate_variable(cls)


class _ViewOfRaw:
    """`Structure._v`: made at the first use, and from then on in the structure's `__dict__`, where
    Python finds it before this; of guarded memory there is a new one each time."""

    def __get__(self, structure: Any, owner: Any = None) -> Any:
        memory, va = structure._m, int(structure)
        host = memory.raw(va, structure.size)
        if host is None:
            return GuardedView(structure)
        if memory.lent and (page := memory.lent.get(va >> 12)) is not None:
            view = (structure._revocable or structure._make_revocable()).from_address(host)
            view._m, view._at = memory, va
            page.views.append((structure, view))
        else:
            view = structure._view.from_address(host)
        structure.__dict__["_v"] = view
        return view


class Structure(Pointer, metaclass=_StructureMeta):
    """Base of every structure; see `ntsim.abi.types`."""

    _v: Any = _ViewOfRaw()
    size: ClassVar[int] = 0
    alignment: ClassVar[int] = 1
    _declared: ClassVar[dict[str, tuple[Any, int | None]]] = {}
    _fields: ClassVar[dict[str, tuple[int, Any]]] = {}
    _flat: ClassVar[dict[str, tuple[int, Any]]] = {}
    _view: ClassVar[Any] = None
    _revocable: ClassVar[Any] = None
    _declared_size: ClassVar[int | None] = None
    _union: ClassVar[bool] = False
    _globals: ClassVar[dict[str, Any]] = {}
    _setters: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, size: int | None = None, union: bool = False) -> None:
        base = typing_cast("type[Structure]", cls.__base__)
        declared = dict(base._declared)
        size = base._declared_size if size is None and declared else size
        for name, annotation in cls.__annotations__.items():
            place = cls.__dict__.get(name)
            declared[name] = (annotation, place.offset if isinstance(place, at) else None)
        for name, place in list(cls.__dict__.items()):
            if isinstance(place, array):
                declared[name] = (f"{place.item}[{place.length}]", place.offset)
            if isinstance(place, at | array):
                delattr(cls, name)
        cls._declared, cls._declared_size, cls._union = declared, size, union or base._union
        cls._item = cls
        cls._ready = False
        cls._setters = {}
        cls._revocable = None
        frame = sys._getframe(1)
        cls._globals = frame.f_globals
        if "<locals>" in cls.__qualname__:
            cls._globals = {**frame.f_globals, **frame.f_locals}
        if size is not None:
            cls.size = size
        if cls.__module__.startswith("ntsim.abi") and "." not in cls.__qualname__:
            REGISTRY[cls.__name__] = cls


    @classmethod
    def _make_revocable(cls) -> Any:
        cls._revocable = revocable(cls._view, cls._flat)
        return cls._revocable

    if TYPE_CHECKING:  # `_prepare` makes the attributes; a hook here would slow each of them down

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        put = self._setters.get(name)
        if put is not None:
            put(self, value)
        elif name == "_m":
            object.__setattr__(self, name, value)
        else:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"  # as of reading
            raise AttributeError(text, name=name, obj=self)

    def __getitem__(self, index: int) -> Any:
        return self.at(self._m, (int(self) + index * self.size) & MASK64)

    def __setitem__(self, index: int, value: Any) -> None:
        self.store(self._m, int(self) + index * self.size, value)

    @classmethod
    def load(cls, memory: Memory, va: int) -> Any:
        return cls.at(memory, va)

    @classmethod
    def store(cls, memory: Memory, va: int, value: Any) -> None:
        """Structure assignment: copies the bytes of another structure of the same type."""
        if not isinstance(value, Structure) or value.size != cls.size:
            raise TypeError(f"cannot assign {value!r} to a {cls.__name__}: assign its fields")
        memory.write(va, value._m.read(int(value), cls.size))

    @classmethod
    def offset_of(cls, field: str) -> int:
        """Byte offset of `field`, where nested fields are written `Tail.Overlay.ListEntry`."""
        offset, structure = 0, cls
        for part in field.split("."):
            if not structure._ready:
                structure._prepare()
            if part not in structure._fields:
                raise AttributeError(f"{structure.__name__} has no field {part}")
            step, structure = structure._fields[part]
            offset += step
        return offset

    @classmethod
    def _prepare(cls) -> None:
        """Lay out the fields, generate the ctypes view and the attributes."""
        if cls._ready:
            return
        end, alignment = 0, 1
        fields: dict[str, tuple[int, Any]] = {}
        for name, (annotation, offset) in cls._declared.items():
            kind = resolve(annotation, cls)
            check_type(kind, f"{cls.__name__}.{name}")
            prepare(kind)
            if offset is None:
                offset = 0 if cls._union else -(-end // kind.alignment) * kind.alignment
            fields[name] = (offset, kind)
            end = max(end, offset + kind.size)
            alignment = max(alignment, kind.alignment)
        natural = -(-end // alignment) * alignment
        if cls._declared_size is None:
            cls.size = natural
        assert end <= cls.size, f"{cls.__name__}: fields end at {end:#x}, size is {cls.size:#x}"
        cls.alignment, cls._fields = alignment, fields
        cls._flat = dict(flatten(fields))
        cls._view = make_view(cls.__name__, cls.size, cls._flat)
        for name, (offset, kind) in fields.items():
            attribute = make_attribute(name, offset, kind)
            cls._setters[name] = attribute.fset
            setattr(cls, name, attribute)
        cls._ready = True


def flatten(
    fields: dict[str, tuple[int, Any]], prefix: str = "", base: int = 0
) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Every leaf field as (path joined by underscores, (offset, type))."""
    for name, (offset, kind) in fields.items():
        if isinstance(kind, _StructureMeta):
            inner = typing_cast("type[Structure]", kind)._fields
            yield from flatten(inner, f"{prefix}{name}_", base + offset)
        else:
            yield prefix + name, (base + offset, kind)
