"""What a mistake is: a bug check, a driver that earns it, and the four parameters to expect.

A mistake is a function that takes a `Bench`, on which it runs its driver. Before the system stops
it says with `bench.expect` what the parameters will be: numbers, `ANY`, or one of the matchers
below. Its docstring is the sentence that the page docs/bug-checks.md prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import ANY

from ntsim.machine import Machine
from tests.conftest import Entry, one_request, thing_driver

__all__ = ["ANY", "MISTAKES", "Bench", "Matching", "Mistake", "kernel_address", "mistake"]


@dataclass(frozen=True)
class Matching:
    """A parameter that is not known beforehand: what it is, and how to tell."""

    what: str
    test: Callable[[int], bool]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and self.test(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.what}>"


kernel_address = Matching("a kernel address", lambda value: value >> 47 == 0x1FFFF)


class Bench:
    """A machine to make a mistake on."""

    def __init__(self, make: Callable[..., Machine]) -> None:
        self._make = make
        self._machine: Machine | None = None
        self.expected: tuple[Any, ...] | None = None

    def configure(self, **options: Any) -> Machine:
        """The machine, with options that are not the usual ones."""
        self._machine = self._make(**options)
        return self._machine

    @property
    def machine(self) -> Machine:
        return self._machine or self.configure()

    def expect(self, *parameters: Any) -> None:
        """What the parameters will be; those that are left out are zero."""
        self.expected = (*parameters, 0, 0, 0, 0)[:4]

    def run(self, body: Callable[..., Any]) -> Any:
        """Load a driver whose DriverEntry is `body`; it may take the driver object."""
        return self.machine.load_driver(Entry(body), name="drv.sys")

    def request(self, app: Callable[[], Any] = one_request, **routines: Any) -> None:
        """Load a driver with the device Thing and these routines, and run an app against it."""
        self.machine.load_driver(thing_driver(**routines), name="drv.sys")
        self.machine.run(app, name="app.exe")

    @property
    def code(self) -> Matching:
        """An address in the code of the driver."""
        return self._place("drv!")

    @property
    def kernel(self) -> Matching:
        """An address in the code of the kernel."""
        return self._place("nt!")

    def _place(self, module: str) -> Matching:
        describe = self.machine.nt.describe_address
        return Matching(f"an address in {module}", lambda at: describe(at).startswith(module))


@dataclass(frozen=True)
class Mistake:
    """`code` is the bug check that `commit` ends in."""

    code: int
    commit: Callable[[Bench], Any]

    @property
    def name(self) -> str:
        return f"0x{self.code:x}-{self.commit.__name__}"

    @property
    def text(self) -> str:
        """One sentence."""
        return " ".join((self.commit.__doc__ or "").split())


MISTAKES: list[Mistake] = []


def mistake(code: int) -> Callable[[Callable[[Bench], Any]], Callable[[Bench], Any]]:
    """Register a function as a mistake that ends in bug check `code`."""

    def register(commit: Callable[[Bench], Any]) -> Callable[[Bench], Any]:
        MISTAKES.append(Mistake(code, commit))
        return commit

    return register
