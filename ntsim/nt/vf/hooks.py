"""Which checks look at which routine.

A check is a function `check(vf, nt, *arguments)` registered for an option and the routines it looks
at. `before` runs before the routine; `after` gets the result behind `vf`; `instead` may return the
result, so that the routine is not called, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Table = dict[str, list[tuple[str, Callable[..., Any]]]]

AUTOMATIC = ""
"""Stands for the automatic checks, which every verified driver gets."""

BEFORE: Table = {}
AFTER: Table = {}
INSTEAD: Table = {}


def _registered(
    table: Table, option: str, names: str, first: bool = False
) -> Callable[[F], F]:
    def register(function: F) -> F:
        for name in names.split():
            checks = table.setdefault(name, [])
            checks.insert(0 if first else len(checks), (option, function))
        return function

    return register


def before(option: str, names: str, *, first: bool = False) -> Callable[[F], F]:
    """Look at the arguments of routines (names separated by blanks); `first`: ahead of others."""
    return _registered(BEFORE, option, names, first)


def after(option: str, names: str) -> Callable[[F], F]:
    """Look at the result of routines, too."""
    return _registered(AFTER, option, names)


def instead(option: str, names: str) -> Callable[[F], F]:
    """Perhaps answer for routines."""
    return _registered(INSTEAD, option, names)


def chosen(table: Table, name: str, options: frozenset[str]) -> tuple[Callable[..., Any], ...]:
    """The checks of a routine that are on."""
    return tuple(f for option, f in table.get(name, ()) if not option or option in options)
