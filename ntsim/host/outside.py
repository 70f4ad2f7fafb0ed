"""The host's clock, threads, chance and sockets, kept from simulated code while processors run.

A driver or app file cannot import those modules (`modules.REFUSED`). A callable comes from a module
that has them; what it calls of them is replaced, for the time that processors run, by a guard that
refuses code of a machine and lets everybody else through.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import MethodType
from typing import Any

from greenlet import getcurrent

from ntsim.host.modules import REFUSED

_CALLS = (
    ("time", "", "sleep"),
    ("threading", "Thread", "start"),
    ("socket", "socket", "__init__"),
    ("subprocess", "Popen", "__init__"),
)
"""Module, class if it is a method, name."""


class RefusedCall(RuntimeError):
    """The mistake of the driver or app that calls, not ntsim's."""

    ntsim_caller_error = True


@contextmanager
def refused_to_simulated_code() -> Iterator[None]:
    """Guards stand in for the calls while any machine of this process runs."""
    with _LOCK:
        _STANDING.enter()
    try:
        yield
    finally:
        with _LOCK:
            _STANDING.leave()


class _Guards:
    """The guards that stand now; machines may run on several threads of the host."""

    def __init__(self) -> None:
        self.users = 0
        self.placed: list[tuple[Any, str, Callable[..., Any], Callable[..., Any]]] = []

    def enter(self) -> None:
        if not self.users:
            self.placed = [(o, name, made, _guard(made, top)) for o, name, made, top in _targets()]
            for owner, name, _, guard in self.placed:
                setattr(owner, name, guard)
        self.users += 1

    def leave(self) -> None:
        """The last to leave removes them; a replacement that somebody else made stays."""
        self.users -= 1
        if self.users:
            return
        for owner, name, original, guard in self.placed:
            if vars(owner).get(name) is guard:
                setattr(owner, name, original)
        self.placed = []


_LOCK, _STANDING = RLock(), _Guards()


def _targets() -> Iterator[tuple[Any, str, Callable[..., Any], str]]:
    """(owner, name, callable, module) of everything to guard in the modules that are loaded."""
    for top, kind, name in _CALLS:
        module = sys.modules.get(top)
        owner = getattr(module, kind, None) if kind else module
        if owner is not None and name in vars(owner):
            yield owner, name, vars(owner)[name], top
    chance = sys.modules.get("random")
    for name, found in list(vars(chance).items()) if chance is not None else ():
        if isinstance(found, MethodType) or name in ("random", "getrandbits"):
            yield chance, name, found, "random"


def _guard(original: Callable[..., Any], top: str) -> Callable[..., Any]:
    def guard(*arguments: Any, **named: Any) -> Any:
        if getattr(getcurrent(), "machine", None) is not None:
            raise RefusedCall(f"{top} works outside the simulated machine; use {REFUSED[top]}")
        return original(*arguments, **named)

    return guard
