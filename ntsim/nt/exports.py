"""The kernel's export table: every modelled routine registers itself with `@export`.

A routine is written once, as a plain function whose first parameter is the kernel; the kernel's own
code calls it directly. What drivers call is a *face* generated from the registration: it finds the
running machine, is a scheduling point, converts arguments by their annotations, lets the verifier
look, and returns out arguments the way SURFACE describes.

`Out[T]` marks an `_Out_` argument that points to a scalar, handle or pointer: inside the routine it
is anything that takes `X[0] = value`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)
F = TypeVar("F", bound=Callable[..., Any])


class Out(Protocol[T_contra]):
    """`*Name = value` of an out argument, written `Name[0] = value`."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __setitem__(self, index: int, value: T_contra, /) -> None: ...


class OutOpt(Out[T_contra], Protocol[T_contra]):
    """An `_Out_opt_` argument: always passed, may be NULL."""


class Export:
    """One modelled routine: its function, parameters and IRQL contract."""

    __slots__ = ("aliases", "function", "inline", "irql", "name", "outs", "parameters", "returns")

    def __init__(
        self, function: Callable[..., Any], irql: str, aliases: tuple[str, ...], inline: bool
    ):
        self.function, self.irql, self.aliases, self.inline = function, irql, aliases, inline
        self.name = function.__name__
        notes = inspect.get_annotations(function)
        self.returns = str(notes.pop("return", "VOID"))
        names = list(function.__code__.co_varnames[1 : function.__code__.co_argcount])
        self.parameters = [(name, str(notes.get(name, "PVOID"))) for name in names]
        self.outs = [i for i, (_, kind) in enumerate(self.parameters) if kind.startswith("Out[")]

    @property
    def variadic(self) -> bool:
        """A routine such as DbgPrint, which takes any number of further arguments."""
        return bool(self.function.__code__.co_flags & inspect.CO_VARARGS)


EXPORTS: dict[str, Export] = {}
"""By every name under which drivers import it."""


def export(*, irql: str, aliases: tuple[str, ...] = (), inline: bool = False) -> Callable[[F], F]:
    """Register a routine.

    `irql` is its contract in words (`<= DISPATCH`, `== PASSIVE`, `any`), `aliases` are further
    names of the same routine (IofCompleteRequest), `inline` marks one that the WDK headers define
    as a macro or inline function, so that it has no export of its own.
    """

    def register(function: F) -> F:
        made = Export(function, irql, aliases, inline)
        for name in (made.name, *aliases):
            assert name not in EXPORTS, f"{name} is exported twice"
            EXPORTS[name] = made
        return function

    return register


def is_modelled(name: str) -> bool:
    """Whether a driver can call `name`; imports every room first."""
    load_rooms()
    return name in EXPORTS


def load_rooms() -> None:
    """Import every room of the kernel, so that all its routines are registered."""
    importlib.import_module("ntsim.nt.rooms").load()
