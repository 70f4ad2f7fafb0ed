"""C types of the x64 Windows ABI over one machine's memory.

A structure's bytes are the only truth; this module gives them names. Three kinds of type exist:

* a `Scalar` (`ULONG`, `PVOID`, `KIRQL`): width and signedness;
* a subclass of `Structure` (`IRP`, `KEVENT`, or a driver's own): its instances are *typed
  addresses*, that is Python ints which carry the machine's memory and have one attribute per field.
  A structure and a pointer to it look alike in Python, because `p.Field` is what both `s.Field` and
  `p->Field` mean in C;
* a `PointerType` (`PIRP`), made by `POINTER` or found by name (`P` + structure): the type of a
  variable that holds such an address.

Fields are read through a flat ctypes view laid over the host memory (about 60 ns through the
attribute, 20 ns on the view `p._v` itself, where the nested field `IoStatus.Status` is called
`IoStatus_Status`). Where memory is *guarded* (paged, user, special pool) the view walks the page
tables at every access instead. Both are generated from one field table.

Layouts: Windows 10 build 19041 x64 public symbols for NT structures, natural alignment (x64 ABI,
"x64 type and storage layout") for structures that drivers declare.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar
from typing import cast as typing_cast

from ntsim.abi.memory import (
    MASK64,
    Memory,
    NoMachine,
    Unplaced,
    at_module_level,
    current_memory,
)

REGISTRY: dict[str, Any] = {}


class Type:
    """A C type that is not a structure: something with a size that can be stored."""

    __slots__ = ("_pointer", "alignment", "name", "size")

    def __init__(self, name: str, size: int, alignment: int) -> None:
        self.name, self.size, self.alignment = name, size, alignment
        self._pointer: type[Pointer] | None = None

    def __repr__(self) -> str:
        return self.name

    def __mul__(self, length: int) -> ArrayType:
        return ArrayType(self, length)

    def __call__(self) -> Any:
        """Storage for one variable of this type, zeroed: a pointer to it."""
        return allocate_variable(self)

    def load(self, memory: Memory, va: int) -> Any:
        raise NotImplementedError(self.name)

    def store(self, memory: Memory, va: int, value: Any) -> None:
        raise NotImplementedError(self.name)


class Scalar(Type):
    """An integer type: `ctype` is the ctypes class with its width and sign."""

    __slots__ = ("ctype", "signed")

    def __init__(self, name: str, ctype: Any, registered: bool = True) -> None:
        size = ctypes.sizeof(ctype)
        super().__init__(name, size, size)
        self.ctype = ctype
        self.signed = ctype(-1).value < 0
        if registered:
            REGISTRY[name] = self

    def load(self, memory: Memory, va: int) -> int:
        host = memory.raw(va, self.size)
        if host is not None:
            return int(self.ctype.from_address(host).value)
        return int.from_bytes(memory.read(va, self.size), "little", signed=self.signed)

    def store(self, memory: Memory, va: int, value: Any) -> None:
        number = address_value(memory, value)
        host = memory.raw(va, self.size)
        if host is not None:
            self.ctype.from_address(host).value = number
        else:
            memory.write(va, (number & ((1 << 8 * self.size) - 1)).to_bytes(self.size, "little"))


class PointerType(Type):
    """A variable that holds the address of a `target`; eight bytes."""

    __slots__ = ("_target", "home")

    ctype = ctypes.c_uint64
    signed = False

    def __init__(self, target: Any, home: dict[str, Any] | None = None) -> None:
        name = target if isinstance(target, str) else type_name(target)
        super().__init__("P" + name, 8, 8)
        self._target, self.home = target, home

    @property
    def target(self) -> Any:
        """The pointee: a Type or a Structure subclass; names are resolved on first use."""
        if isinstance(self._target, str):
            self._target = resolve(self._target, self.home)
        return self._target

    def load(self, memory: Memory, va: int) -> Any:
        host = memory.raw(va, 8)
        if host is not None:
            value = ctypes.c_uint64.from_address(host).value
        else:
            value = int.from_bytes(memory.read(va, 8), "little")
        return pointer_to(self.target, memory, value)

    def store(self, memory: Memory, va: int, value: Any) -> None:
        ULONG_PTR_TYPE.store(memory, va, value)


class ArrayType(Type):
    """`length` items one after the other; as a field it reads as a pointer to the first."""

    __slots__ = ("item", "length")

    def __init__(self, item: Any, length: int) -> None:
        if length < 0:
            raise ValueError(f"an array of {type_name(item)} cannot have {length} items")
        super().__init__(f"{type_name(item)}[{length}]", item.size * length, item.alignment)
        self.item, self.length = item, length


class Pointer(int):
    """An address that knows its pointee: `p[i]` dereferences, `p + n` counts bytes."""

    _m: Memory
    _item: ClassVar[Any]
    _ready: ClassVar[bool] = True

    @classmethod
    def at(cls, memory: Memory, va: int) -> Any:
        """The typed address `va` (taken modulo 2**64) in `memory`."""
        return memory.pointers[cls][va]

    @classmethod
    def _new(cls, memory: Memory, va: int) -> Any:
        """What `memory` keeps for `at` to find."""
        if not cls._ready:
            cls._prepare()
        made = int.__new__(cls, va & MASK64)
        made._m = memory
        return made

    @classmethod
    def _prepare(cls) -> None:
        """A structure's fields are laid out when it is first used."""

    def __getitem__(self, index: int) -> Any:
        item = self._item
        return item.load(self._m, (int(self) + index * item.size) & MASK64)

    def __setitem__(self, index: int, value: Any) -> None:
        item = self._item
        item.store(self._m, (int(self) + index * item.size) & MASK64, value)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            f"a {type_name(type(self))} has no length: index it, or use read_bytes(p, n)"
        )

    def __add__(self, other: int) -> Any:
        return self.at(self._m, (int(self) + int(other)) & MASK64)

    __radd__ = __add__

    def __sub__(self, other: int) -> Any:
        if isinstance(other, Pointer):
            return int(self) - int(other)
        return self.at(self._m, (int(self) - int(other)) & MASK64)

    def __repr__(self) -> str:
        return f"P{type_name(self._item)}({int(self):#x})"

    __str__ = int.__repr__

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class Routine(Pointer):
    """The address of a routine that lies in a structure: `p(arguments)` calls it."""

    def __call__(self, *arguments: Any) -> Any:
        return self._m.call(int(self), arguments)


def prepare(kind: Any) -> None:
    """Make sure that size and alignment of `kind` are known."""
    if isinstance(kind, type) and not kind._ready:  # type: ignore[attr-defined]
        kind._prepare()  # type: ignore[attr-defined]


def pointer_class(kind: Any) -> type[Pointer]:
    """The Pointer class whose instances point to `kind`."""
    if isinstance(kind, type):
        return kind
    if isinstance(kind, ArrayType):
        return pointer_class(kind.item)
    if kind._pointer is None:
        kind._pointer = type("P" + kind.name, (Pointer,), {"_item": kind})
    return typing_cast("type[Pointer]", kind._pointer)


def pointer_to(kind: Any, memory: Memory, va: int) -> Any:
    """`va` as a pointer to `kind`; for VOID a plain int."""
    return va if kind is VOID else pointer_class(kind).at(memory, va)


def address_value(memory: Memory, value: Any) -> int:
    """The number stored for `value`: an int, None for NULL, or the address of a routine."""
    if isinstance(value, int):
        return value
    if value is None:
        return 0
    if callable(value):
        return memory.address_of(value)
    raise TypeError(f"{value!r} cannot be stored here: an integer, pointer or routine is needed")


def type_name(kind: Any) -> str:
    """The C name of any of the three kinds of type."""
    return kind.__name__ if isinstance(kind, type) else str(kind.name)


_ROUTINE = Type("ROUTINE", 1, 1)
_ROUTINE._pointer = Routine
REGISTRY["PROUTINE"] = PointerType(_ROUTINE)


def POINTER(target: Any) -> Any:
    """The type of a pointer to `target`; a name is looked up when first needed."""
    return PointerType(target, sys._getframe(1).f_globals)


def resolve(annotation: Any, home: Any) -> Any:
    """The type that an annotation names, looked up in the class, its module, then NT's types.

    Text is a name, `NAME[n]`, or any expression of the declaring module (`POINTER(VCPU) * 64`).
    """
    if not isinstance(annotation, str):
        return annotation
    text = annotation.strip()
    if text.endswith("]") and "[" in text:
        item, _, length = text[:-1].rpartition("[")
        return ArrayType(resolve(item, home), int(length, 0))
    if text.isidentifier():
        return resolve_name(text, home)
    names: dict[str, Any] = {}
    for space in reversed(list(namespaces(home))):
        names.update(space)
    return resolve(eval(text, names), home)  # text once more if the annotation was quoted


def check_type(kind: Any, where: str) -> None:
    """TypeError if what a declaration names cannot be stored."""
    if not isinstance(kind, Type | type):
        raise TypeError(f"{where}: {kind!r} is no type that can be stored")


def resolve_name(text: str, home: Any) -> Any:
    """A type by its bare name; `P` before the name of another type means a pointer to it."""
    for names in namespaces(home):
        if text in names:
            return names[text]
    if text.startswith("P") and (target := find_target(text[1:], home)) is not None:
        pointer = PointerType(target)
        if home is None or getattr(home, "__module__", "").startswith("ntsim.abi"):
            REGISTRY[text] = pointer
        return pointer
    if declare_all():
        return resolve_name(text, home)
    raise NameError(f"unknown type {text!r} in the declaration of {home_name(home)}")


DECLARATIONS = ("cm", "dma", "ex", "image", "io", "ke", "mm", "ob", "pnp", "ps", "rtl", "se")
"""Modules of this package whose structures name each other's."""


def declare_all() -> bool:
    """Import every module of declarations; whether one of them had not been imported."""
    missing = [name for name in DECLARATIONS if f"{__package__}.{name}" not in sys.modules]
    for name in missing:
        import_module(f"{__package__}.{name}")
    return bool(missing)


def find_target(name: str, home: Any) -> Any:
    for names in namespaces(home):
        if isinstance(found := names.get(name), (Type, type)):
            return found
    return find_pointer(name, home)


def find_pointer(name: str, home: Any) -> Any:
    if not name.startswith("P"):
        return None
    target = find_target(name[1:], home)
    return None if target is None else PointerType(target)


def namespaces(home: Any) -> Iterator[dict[str, Any]]:
    if isinstance(home, type):
        yield {**home.__dict__, home.__name__: home}
        yield home._globals  # type: ignore[attr-defined]
    elif home is not None:
        yield home
    yield REGISTRY


def home_name(home: Any) -> str:
    return home.__name__ if isinstance(home, type) else "a pointer"


def allocate_variable(kind: Any) -> Any:
    """Zeroed storage for one `kind` in the running code's image or on its kernel stack.

    A driver file may also be imported as a module where no machine runs: Unplaced then.
    """
    prepare(kind)
    try:
        memory = current_memory()
    except NoMachine:
        if at_module_level():
            return Unplaced(type_name(kind))
        raise
    va = memory.allocate(max(kind.size, 1), max(kind.alignment, 8))
    memory.write(va, bytes(kind.size))
    return pointer_to(kind, memory, va)


VOID = Type("VOID", 1, 1)
REGISTRY["VOID"] = VOID
PVOID_TYPE = Scalar("PVOID", ctypes.c_uint64)
ULONG_PTR_TYPE = Scalar("ULONG_PTR", ctypes.c_uint64)
