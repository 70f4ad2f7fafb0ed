"""What a fact is: a few lines of driver code, what they must yield, and who asserts it.

A module holds the facts of one family of routines. Each is a function that a machine runs as
DriverEntry; its name is the statement, its decorator says the source, the value to return and the
machine's options. `as_tests` makes the facts of some sources one parametrised test each. The page
docs/conformance.md lists them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from itertools import product
from typing import Any

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

KMTESTS = "ReactOS modules/rostests/kmtests"
WINE = "Wine dlls/ntoskrnl.exe/tests"


@dataclass(frozen=True)
class Stop:
    """The run ends in this bug check."""

    code: int
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Fact:
    source: str
    body: Callable[..., Any]
    case: dict[str, Any]
    expected: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """What the test is called: the function, and the values it is called with."""
        values = "-".join(str(value) for value in self.case.values())
        return f"{self.body.__name__}-{values}" if values else self.body.__name__

    @property
    def statement(self) -> str:
        return self.body.__name__.replace("_", " ")


@dataclass
class Facts:
    """The facts that one source asserts."""

    source: str
    all: list[Fact] = field(default_factory=list)

    def fact(self, expected: Any, options: dict[str, Any] | None = None, **cases: Any) -> Any:
        """The decorated function must return `expected`, on a machine with these options.

        Keyword arguments are lists of values: one fact for each combination, with `expected` a
        value or a function of the combination.
        """

        def keep(body: Callable[..., Any]) -> Callable[..., Any]:
            for values in product(*cases.values()):
                case = dict(zip(cases, values, strict=True))
                wanted = expected(**case) if callable(expected) else expected
                self.all.append(Fact(self.source, body, case, wanted, options or {}))
            return body

        return keep


def as_tests(*families: Facts) -> Callable[..., None]:
    """The parametrised test of these facts."""
    facts = [fact for family in families for fact in family.all]

    @pytest.mark.parametrize("fact", facts, ids=[fact.name for fact in facts])
    def test_fact(fact: Fact, run_driver: Any) -> None:
        def DriverCode(DriverObject: Any) -> Any:
            takes = signature(fact.body).parameters
            driver = {"DriverObject": DriverObject} if "DriverObject" in takes else {}
            return fact.body(**fact.case, **driver)

        if isinstance(fact.expected, Stop):
            with pytest.raises(BugCheck) as caught:
                run_driver(DriverCode, **fact.options)
            stop, count = caught.value, len(fact.expected.parameters)
            found: Any = Stop(stop.code, tuple(stop.parameters[:count]))
        else:
            found = run_driver(DriverCode, **fact.options).value
        if found != fact.expected:
            pytest.fail(f"{fact.source} asserts\n  {fact.expected}\nnot\n  {found}")

    return test_fact


# What driver code of many families does


def large(value: int) -> Any:
    """A LARGE_INTEGER."""
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def variable(kind: Any, value: int) -> Any:
    """A variable of a scalar type."""
    made = kind()
    made[0] = value
    return made


def wait(object_: Any, timeout: Any = NULL) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, timeout)


def poll(object_: Any) -> int:
    """A wait that does not wait."""
    return wait(object_, large(0))


def pause(milliseconds: int = 1) -> None:
    KeDelayExecutionThread(KernelMode, FALSE, large(-10_000 * milliseconds))


def start(routine: Callable[[Any], Any], context: Any = NULL) -> Any:
    """A referenced system thread."""
    _, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, routine, context)
    _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
    ZwClose(handle)
    return thread


def text_of(string: Any) -> str:
    """What a UNICODE_STRING says."""
    return read_bytes(int(string.Buffer), string.Length).decode("utf-16-le")


def raised(call: Callable[[], Any]) -> int:
    """The status that a call raises; 0 if it raises none."""
    try:
        call()
    except StructuredException as e:
        return e.ExceptionCode
    return 0
