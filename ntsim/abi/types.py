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
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from typing import Any, ClassVar, Protocol, TypeVar
from typing import cast as typing_cast

MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class Memory(Protocol):
    """What a typed address needs of its machine."""

    pointers: dict[Any, dict[int, Any]]

    def raw(self, va: int, size: int) -> int | None:
        """Host address of `size` bytes at `va`, or None if they are guarded or not mapped."""

    def read(self, va: int, size: int) -> bytes:
        """Checked read: ends in the fault that hardware and kernel would give."""

    def write(self, va: int, data: bytes) -> None:
        """Checked write."""

    def allocate(self, size: int, alignment: int) -> int:
        """Storage for a variable of the running code: image data or kernel stack."""

    def address_of(self, routine: Callable[..., Any]) -> int:
        """Address of a driver's routine; TypeError if it belongs to no loaded image."""


def _no_machine() -> Memory:
    raise RuntimeError(
        "no machine is running here: NT variables and pointers exist only inside a driver, an app "
        "or a callable that a Machine runs"
    )


current_memory: Callable[[], Memory] = _no_machine


def set_current_memory(function: Callable[[], Memory]) -> None:
    """Tell how the memory of the running code's machine is found (host does, once)."""
    global current_memory
    current_memory = function


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


REGISTRY: dict[str, Any] = {}


class Pointer(int):
    """An address that knows its pointee: `p[i]` dereferences, `p + n` counts bytes."""

    _m: Memory
    _item: ClassVar[Any]
    _ready: ClassVar[bool] = True

    @classmethod
    def at(cls, memory: Memory, va: int) -> Any:
        """The typed address `va` (taken modulo 2**64) in `memory`."""
        try:
            return memory.pointers[cls][va]
        except KeyError:
            return cls._new(memory, va)

    @classmethod
    def _new(cls, memory: Memory, va: int) -> Any:
        """An instance that `at` will find from now on."""
        if not cls._ready:
            typing_cast("type[Structure]", cls)._prepare()
        made = int.__new__(cls, va & MASK64)
        made._m = memory
        cache = memory.pointers.setdefault(cls, {})
        if len(cache) > 65536:
            cache.clear()
        cache[va] = made
        return made

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


class Structure(Pointer, metaclass=_StructureMeta):
    """Base of every structure; see the module docstring."""

    size: ClassVar[int] = 0
    alignment: ClassVar[int] = 1
    _declared: ClassVar[dict[str, tuple[Any, int | None]]] = {}
    _fields: ClassVar[dict[str, tuple[int, Any]]] = {}
    _flat: ClassVar[dict[str, tuple[int, Any]]] = {}
    _view: ClassVar[Any] = None
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
        frame = sys._getframe(1)
        cls._globals = frame.f_globals
        if "<locals>" in cls.__qualname__:
            cls._globals = {**frame.f_globals, **frame.f_locals}
        if size is not None:
            cls.size = size
        if cls.__module__.startswith("ntsim.abi") and "." not in cls.__qualname__:
            REGISTRY[cls.__name__] = cls

    def __getattr__(self, name: str) -> Any:
        if name == "_v":
            host = self._m.raw(int(self), self.size)
            if host is None:
                return GuardedView(self)
            view = self._view.from_address(host)
            self.__dict__["_v"] = view
            return view
        raise AttributeError(f"{type(self).__name__} has no field {name}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        put = self._setters.get(name)
        if put is not None:
            put(self, value)
        elif name == "_m":
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(f"{type(self).__name__} has no field {name}", name=name, obj=self)

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


class GuardedView:
    """The view of a structure in guarded memory: one checked access per field access."""

    __slots__ = ("_s",)

    def __init__(self, structure: Structure) -> None:
        object.__setattr__(self, "_s", structure)

    def __getattr__(self, name: str) -> Any:
        structure = self._s
        offset, kind = structure._flat[name]
        data = structure._m.read((int(structure) + offset) & MASK64, kind.size)
        if isinstance(kind, ArrayType):
            return data
        return int.from_bytes(data, "little", signed=kind.signed)

    def __setattr__(self, name: str, value: Any) -> None:
        structure = self._s
        offset, kind = structure._flat[name]
        if not isinstance(value, int):
            raise TypeError("int expected")
        data = (value & ((1 << 8 * kind.size) - 1)).to_bytes(kind.size, "little")
        structure._m.write((int(structure) + offset) & MASK64, data)


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


def make_view(name: str, size: int, flat: dict[str, tuple[int, Any]]) -> Any:
    """A ctypes class with every leaf at its offset, overlapping ones in separate layers."""
    layers: list[list[tuple[str, Any]]] = []
    ends: list[int] = []
    for field, (offset, kind) in sorted(flat.items(), key=lambda item: item[1][0]):
        ctype = view_type(kind)
        layer = next((i for i, end in enumerate(ends) if end <= offset), None)
        if layer is None:
            layer = len(layers)
            layers.append([])
            ends.append(0)
        if offset > ends[layer]:
            layers[layer].append((f"_pad{offset:x}", ctypes.c_uint8 * (offset - ends[layer])))
        layers[layer].append((field, ctype))
        ends[layer] = offset + kind.size
    parts = [
        (
            f"_layer{i}",
            type(
                f"{name}_{i}",
                (ctypes.Structure,),
                {"__slots__": (), "_pack_": 1, "_fields_": layer},
            ),
        )
        for i, layer in enumerate(layers)
    ]
    parts.append(("_bytes", ctypes.c_uint8 * size))
    body = {
        "__slots__": (),  # or a misspelt field would be stored beside the bytes, unnoticed
        "_pack_": 1,
        "_anonymous_": [n for n, _ in parts[:-1]],
        "_fields_": parts,
    }
    return type(name, (ctypes.Union,), body)


def view_type(kind: Any) -> Any:
    if isinstance(kind, ArrayType):
        return ctypes.c_uint8 * kind.size
    return kind.ctype


def make_attribute(name: str, offset: int, kind: Any) -> property:
    """The property of one field, by its kind."""
    if isinstance(kind, type):
        return structure_attribute(name, offset, kind)
    if isinstance(kind, ArrayType):
        return array_attribute(offset, kind)
    if isinstance(kind, PointerType):
        return pointer_attribute(name, kind)
    return scalar_attribute(name, kind)


def scalar_attribute(name: str, kind: Any) -> property:
    def put(self: Any, value: Any) -> None:
        try:
            setattr(self._v, name, value)
        except TypeError:
            setattr(self._v, name, address_value(self._m, value))

    return property(attrgetter("_v." + name), put)


def pointer_attribute(name: str, kind: PointerType) -> property:
    raw = attrgetter("_v." + name)
    cls: Any = None

    def get(self: Any) -> Any:
        nonlocal cls
        if cls is None:
            cls = int if kind.target is VOID else pointer_class(kind.target)
        return raw(self) if cls is int else cls.at(self._m, raw(self))

    def put(self: Any, value: Any) -> None:
        try:
            setattr(self._v, name, value)
        except TypeError:
            setattr(self._v, name, address_value(self._m, value))

    return property(get, put)


def structure_attribute(name: str, offset: int, kind: Any) -> property:
    key = "~" + name

    def get(self: Any) -> Any:
        inner = self.__dict__.get(key)
        if inner is None:
            inner = self.__dict__[key] = kind.at(self._m, (int(self) + offset) & MASK64)
        return inner

    def put(self: Any, value: Any) -> None:
        kind.store(self._m, (int(self) + offset) & MASK64, value)

    return property(get, put)


def array_attribute(offset: int, kind: ArrayType) -> property:
    def get(self: Any) -> Any:
        return pointer_to(kind.item, self._m, (int(self) + offset) & MASK64)

    def put(self: Any, value: Any) -> None:
        data = bytes(value)
        if len(data) > kind.size:
            raise ValueError(f"{len(data)} bytes do not fit in {kind.name}")
        self._m.write((int(self) + offset) & MASK64, data.ljust(kind.size, b"\0"))

    return property(get, put)


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
    return eval(text, names)


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


DECLARATIONS = ("cm", "ex", "io", "ke", "mm", "ob", "ps", "rtl")
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


T = TypeVar("T")


def allocate_variable(kind: Any) -> Any:
    """Zeroed storage for one `kind` in the running code's image or on its kernel stack."""
    prepare(kind)
    memory = current_memory()
    va = memory.allocate(max(kind.size, 1), max(kind.alignment, 8))
    memory.write(va, bytes(kind.size))
    return pointer_to(kind, memory, va)


def cast(value: int, kind: Any) -> Any:
    """`(kind)value`: the address `value` with another pointee.

    `kind` is a pointer type (PIRP, POINTER(ULONG)) or the pointee itself (IRP, ULONG); PVOID gives
    a plain address.
    """
    memory = value._m if isinstance(value, Pointer) else current_memory()
    target = kind.target if isinstance(kind, PointerType) else kind
    if target is PVOID_TYPE or target is VOID:
        return int(value) & MASK64
    return pointer_to(target, memory, int(value) & MASK64)


def sizeof(kind: Any) -> int:
    """Size in bytes of a type, or of the object that a typed pointer points to."""
    if isinstance(kind, Pointer):
        kind = kind._item
    prepare(kind)
    return int(kind.size)


def FIELD_OFFSET(structure: Any, field: str) -> int:
    """Byte offset of `field` (a string, dots for nested fields) in `structure`."""
    return int(structure.offset_of(field))


def CONTAINING_RECORD(address: int, structure: Any, field: str) -> Any:
    """The structure whose `field` lies at `address`."""
    memory = address._m if isinstance(address, Pointer) else current_memory()
    prepare(structure)
    return structure.at(memory, (int(address) - structure.offset_of(field)) & MASK64)


VOID = Type("VOID", 1, 1)
REGISTRY["VOID"] = VOID
PVOID_TYPE = Scalar("PVOID", ctypes.c_uint64)
ULONG_PTR_TYPE = Scalar("ULONG_PTR", ctypes.c_uint64)
