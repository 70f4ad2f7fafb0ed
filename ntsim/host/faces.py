"""Faces: what a driver calls when it calls an export.

For each registration a small function is generated once. It finds the machine, is a scheduling
point, converts the arguments its parameters' types call for, lets the verifier look, calls the
routine and hands back out arguments: alone for a VOID routine, else after the result, when the call
left them out; stored through, when all were given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any

from greenlet import getcurrent

from ntsim.abi import routines, scalars
from ntsim.abi.services import service_numbers
from ntsim.abi.structure import Structure
from ntsim.abi.types import (
    REGISTRY,
    Pointer,
    PointerType,
    Scalar,
    address_value,
    pointer_class,
    pointer_to,
    prepare,
    resolve,
)
from ntsim.errors import UnmodelledRoutine
from ntsim.host.current import caller_error, current_kernel
from ntsim.nt.exports import EXPORTS, Export, load_rooms
from ntsim.nt.ki.service_table import ki_service_of_kernel

_ROUTINE = re.compile(
    r"^P\w*(ROUTINE|DISPATCH|CANCEL|WORKER|UNLOAD|STARTIO|CALLOUT|_FUNCTION)\w*$|^PDRIVER_(LIST_)?CONTROL$|^PIO_CSQ_(?!IRP_CONTEXT)"
)
_FAILED = 0xC000_0000
MISSING = object()
"""Stands for an argument that was not given."""


def coerce_pointer(nt: Any, value: Any, cls: type[Pointer], where: str) -> Any:
    """An argument of pointer type `cls`: addresses get the type, None is NULL."""
    if type(value) is int:
        return nt.mmu.pointers[cls][value]
    if isinstance(value, cls):
        return value
    if isinstance(value, int):
        return cls.at(nt.mmu, int(value))
    if value is None:
        return cls.at(nt.mmu, 0)
    if isinstance(value, str) and issubclass(cls, REGISTRY["UNICODE_STRING"]):
        raise caller_error(f"{where} is a PUNICODE_STRING: pass UNICODE_STRING({value!r})")
    raise caller_error(f"{where} is a pointer: {value!r} cannot be passed")


def coerce_address(nt: Any, value: Any, where: str) -> int:
    """An untyped address, handle or routine."""
    if isinstance(value, (bytes, bytearray, str, float)):
        raise caller_error(f"{where} is an address: {value!r} cannot be passed, use a variable")
    try:
        return address_value(nt.mmu, value)
    except TypeError as error:
        raise caller_error(f"{where}: {error}") from None


def coerce_text(nt: Any, value: Any, wide: bool, where: str) -> int:
    """A PCWSTR or PCSTR: a str is placed in the image's read-only data."""
    if isinstance(value, str):
        return int(nt.host.text(value, wide))
    return coerce_address(nt, value, where)


def coerce_scalar(value: Any, mask: int, where: str) -> int:
    """An integer argument, cut to its width."""
    if isinstance(value, int):
        return int(value) & mask
    if isinstance(value, Structure) or getattr(value, "QuadPart", None) is not None:
        return int(value.QuadPart)
    raise caller_error(f"{where} is an integer: {value!r} cannot be passed")


def coerce_signed(value: Any, half: int, where: str) -> int:
    """A signed integer argument, cut to its width; `half` is its most negative value's size."""
    return (coerce_scalar(value, 2 * half - 1, where) & 2 * half - 1 ^ half) - half


def coerce_large(value: Any, where: str) -> Any:
    """A LARGE_INTEGER by value: an int, or a variable of that type."""
    if isinstance(value, int) or hasattr(value, "QuadPart"):
        return value
    raise caller_error(f"{where} is a LARGE_INTEGER: {value!r} cannot be passed")


def _conversion(name: str, kind: str, index: int, where: str) -> tuple[str, dict[str, Any]]:
    """(source line, names it uses) that convert one argument; empty if it needs none."""
    slot = f"T{index}"
    if kind in scalars.PCWSTR_TYPES or kind in scalars.PCSTR_TYPES:
        wide = kind in scalars.PCWSTR_TYPES
        line = f"if type({name}) is not int: {name} = coerce_text(nt, {name}, {wide}, {where!r})"
        return line, {}
    if kind == "Any":
        return "", {}
    if kind in ("LARGE_INTEGER", "PHYSICAL_ADDRESS"):
        return f"if type({name}) is not int: {name} = coerce_large({name}, {where!r})", {}
    if _ROUTINE.match(kind) or kind in ("PVOID", "HANDLE", "ULONG_PTR"):
        line = f"if type({name}) is not int: {name} = coerce_address(nt, {name}, {where!r})"
        return line, {}
    inner = re.match(r"^(Out|OutOpt)\[(.*)\]$", kind)
    text = "P" + inner[2] if inner else kind
    found = resolve(text, None)
    if isinstance(found, PointerType | type):
        target = found.target if isinstance(found, PointerType) else found
        prepare(target)
        cls = pointer_class(target)
        known = f"nt.mmu.pointers[{slot}][{name}] if type({name}) is int else "
        made = f"coerce_pointer(nt, {name}, {slot}, {where!r})"
        line = f"if type({name}) is not {slot}: {name} = {known}{made}"
        return line, {slot: cls}
    assert isinstance(found, Scalar), (where, kind)
    mask = (1 << 8 * found.size) - 1
    if found.signed:
        half = 1 << 8 * found.size - 1
        line = (
            f"if type({name}) is not int or not {-half} <= {name} < {half}: "
            f"{name} = coerce_signed({name}, {half:#x}, {where!r})"
        )
        return line, {}
    line = (
        f"if type({name}) is not int or not 0 <= {name} <= {mask:#x}: "
        f"{name} = coerce_scalar({name}, {mask:#x}, {where!r})"
    )
    return line, {}


_PROLOGUE = """
    try: nt = getcurrent().machine
    except AttributeError: nt = current_kernel({name!r})
    il = nt.il
    processor = il.current
    thread = processor.context
    if not thread.images and thread.user is not None and not thread.in_kernel:
        raise kernel_only({name!r})
    processor.budget -= 1
    if processor.budget < 0: il.give_way()
"""


def kernel_mode(name: str) -> Any:
    """The kernel whose driver calls routine `name`; the error of an app that does."""
    nt = current_kernel(name)
    if nt.in_user_mode():
        raise kernel_only(name)
    return nt


def kernel_only(name: str) -> Any:
    return caller_error(f"{name} is a routine of the kernel: an app cannot call it")


def make_face(export: Export, name: str) -> Callable[..., Any]:
    """The function that drivers call under `name`."""
    if export.variadic:
        return _variadic_face(export, name)
    if export.outs:
        return _face_with_outs(export, name)
    return _plain_face(export, name)


def _environment(export: Export) -> dict[str, Any]:
    return {
        "getcurrent": getcurrent, "current_kernel": current_kernel, "impl": export.function,
        "coerce_pointer": coerce_pointer, "coerce_address": coerce_address,
        "coerce_text": coerce_text,
        "coerce_large": coerce_large, "coerce_scalar": coerce_scalar,
        "coerce_signed": coerce_signed, "kernel_only": kernel_only, "export": export,
    }  # fmt: skip


def _plain_face(export: Export, name: str) -> Callable[..., Any]:
    names = [p for p, _ in export.parameters]
    space = _environment(export)
    space.update(MISSING=MISSING, wrong_count=wrong_count, names=tuple(names))
    header = "".join(f"{each}=MISSING, " for each in names)
    given = "(" + "".join(f"{each}, " for each in names) + "*extra,)"
    short = f"{names[-1]} is MISSING or extra" if names else "extra"
    lines = [
        f"def {name}({header}*extra):",
        f"    if {short}: raise wrong_count({name!r}, names, {given})",
        _PROLOGUE.format(name=name),
    ]
    for index, (parameter, kind) in enumerate(export.parameters):
        line, used = _conversion(parameter, kind, index, f"{parameter} of {name}")
        space.update(used)
        if line:
            lines.append(f"    {line}")
    arguments = ", ".join(["nt", *names])
    if is_service(name):
        space.update(ki_service_of_kernel=ki_service_of_kernel)
        given = "".join(f"{each}, " for each in names)
        lines += [
            "    if nt.watched[0] != nt.untouched:",
            f"        status = ki_service_of_kernel(nt, 'Nt{name[2:]}', ({given}))",
            "        if status is not None: return status",
        ]
    checked = f"return nt.verifier.call(nt, export, ({arguments},))"
    lines.append(f"    if nt.verifier is not None: {checked}")
    lines.append(f"    return impl({arguments})")
    exec(compile("\n".join(lines), __file__, "exec"), space)
    made: Callable[..., Any] = space[name]
    made.__doc__ = export.function.__doc__
    return made


def _face_with_outs(export: Export, name: str) -> Callable[..., Any]:
    """Two forms: with every argument as in C, or with all out arguments left out."""
    names = [p for p, _ in export.parameters]
    outs = set(export.outs)
    short = [n for i, n in enumerate(names) if i not in outs]
    kinds = [_out_class(export, i) for i in export.outs]
    void = export.returns in ("None", "VOID")
    forms = (
        f"{name}({', '.join(names)}) or, returning the out arguments, {name}({', '.join(short)})"
    )
    convert_each = converters(export, name)
    service = is_service(name)

    def face(*arguments: Any) -> Any:
        nt = kernel_mode(name)
        nt.il.step()
        full = len(arguments) == len(names)
        if not full and len(arguments) != len(short):
            raise caller_error(f"{name} takes {forms}; {len(arguments)} arguments were given")
        values: list[Any] = []
        given = iter(arguments)
        cells: list[Any] = []
        for index, convert in enumerate(convert_each):
            if index in outs and not full:
                cells.append([None])
                values.append(cells[-1])
            else:
                values.append(convert(nt, next(given)))
        if service and nt.watched[0] != nt.untouched:
            hooked = through_table(nt, name, values, cells)
            if hooked is not None:
                return hooked if full else _with_outs(nt, hooked, void, export, cells, kinds)
        if nt.verifier is None:
            result = export.function(nt, *values)
        else:
            result = nt.verifier.call(nt, export, (nt, *values))
        return result if full else _with_outs(nt, result, void, export, cells, kinds)

    face.__name__ = face.__qualname__ = name
    face.__doc__ = export.function.__doc__
    return face


def _with_outs(
    nt: Any, result: Any, void: bool, export: Export, cells: list[Any], kinds: list[Any]
) -> Any:
    """What a call without out arguments returns: the result, then their values."""
    failed = not void and export.returns == "NTSTATUS" and result >= _FAILED
    made = [
        kind(nt, 0) if failed or cell[0] is None else kind(nt, cell[0])
        for cell, kind in zip(cells, kinds, strict=True)
    ]
    if void:
        return made[0] if len(made) == 1 else tuple(made)
    return (result, *made)


def is_service(name: str) -> bool:
    """Whether a routine enters the kernel's service tables: Zw, and the number of its service."""
    return name.startswith("Zw") and "Nt" + name[2:] in service_numbers()


def through_table(nt: Any, name: str, values: list[Any], cells: list[Any]) -> int | None:
    """A Zw routine whose service may be hooked, with variables for the out arguments that were left
    out; None if it is not hooked."""
    places = [nt.host.allocate(8, 8) for _ in cells]
    for place in places:
        nt.mmu.write_word(place, 0)
    variables = iter(places)
    raw = [next(variables) if any(v is c for c in cells) else v for v in values]
    status = ki_service_of_kernel(nt, f"Nt{name[2:]}", tuple(raw))
    if status is not None:
        for cell, place in zip(cells, places, strict=True):
            cell[0] = nt.mmu.read_word(place)
    return status


def converters(export: Export, name: str) -> list[Callable[[Any, Any], Any]]:
    """One function (kernel, argument) -> value for each parameter."""
    made: list[Callable[[Any, Any], Any]] = []
    for index, (parameter, kind) in enumerate(export.parameters):
        line, used = _conversion(parameter, kind, index, f"{parameter} of {name}")
        space: dict[str, Any] = {**_environment(export), **used}
        body = f"    {line}\n" if line else ""
        exec(f"def convert(nt, {parameter}):\n{body}    return {parameter}", space)
        made.append(space["convert"])
    return made


def _out_class(export: Export, index: int) -> Callable[[Any, Any], Any]:
    """How the value of an out argument is returned: typed if it is a pointer, else an int."""
    inner = export.parameters[index][1][4:-1]
    found = resolve(inner, None)
    if isinstance(found, PointerType):
        target = found.target
        return lambda nt, value: pointer_to(target, nt.mmu, int(value))
    return lambda nt, value: value if isinstance(value, Pointer) else int(value)


def _variadic_face(export: Export, name: str) -> Callable[..., Any]:
    fixed = converters(export, name)

    def face(*arguments: Any) -> Any:
        nt = kernel_mode(name)
        nt.il.step()
        if len(arguments) < len(fixed):
            raise caller_error(f"{name} takes at least {len(fixed)} arguments")
        values = [c(nt, a) for c, a in zip(fixed, arguments, strict=False)]
        rest = arguments[len(fixed) :]
        if nt.verifier is not None:
            return nt.verifier.call(nt, export, (nt, *values), rest)
        return export.function(nt, *values, *rest)

    face.__name__ = face.__qualname__ = name
    face.__doc__ = export.function.__doc__
    return face


def make_unmodelled(name: str) -> Callable[..., Any]:
    """A routine that Windows has and the model has not: the run stops with its name."""

    def face(*arguments: Any) -> Any:
        nt = kernel_mode(name)
        if name in nt.stubs:
            stub = nt.stubs[name]
            return stub(*arguments) if callable(stub) else stub
        try:
            prototype = routines.lookup(name).prototype
        except KeyError:  # a routine that has no documentation
            prototype = ""
        nt.fail(UnmodelledRoutine(name, prototype))

    face.__name__ = face.__qualname__ = name
    return face


def _trampoline(*arguments, **named):  # type: ignore[no-untyped-def]
    """Every face before its first call; runs with globals of its own."""
    return __build__(*arguments, **named)  # type: ignore[name-defined]  # noqa: F821


def lazy_face(name: str, build: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that becomes what `build` makes when it is first called.

    Most of two thousand routines are never called, and compiling a face costs 150 us. A face
    without closure takes over the function itself; others stay behind it.
    """
    space: dict[str, Any] = {}
    face = FunctionType(_trampoline.__code__, space, name)
    face.__qualname__ = name

    def first(*arguments: Any, **named: Any) -> Any:
        made = build()
        if isinstance(made, FunctionType) and not made.__closure__:
            space.update(made.__globals__)
            face.__code__, face.__defaults__ = made.__code__, made.__defaults__
        else:
            space["__build__"] = made
        return made(*arguments, **named)

    space["__build__"] = first
    return face


def wrong_count(name: str, names: tuple[str, ...], given: tuple[Any, ...]) -> Exception:
    """The error of a call with too few or too many arguments."""
    count = sum(value is not MISSING for value in given)
    error: Exception = caller_error(f"{name}({', '.join(names)}): {count} arguments were given")
    return error


@cache
def faces() -> dict[str, Callable[..., Any]]:
    """Every routine by name: modelled ones, then what Windows has besides."""
    load_rooms()
    made = {
        name: lazy_face(name, partial(make_face, export, name)) for name, export in EXPORTS.items()
    }
    for name in routines.names():
        if name not in made:
            made[name] = lazy_face(name, partial(make_unmodelled, name))
    return made
