"""0xA, 0xD1, 0x50, 0xBE, 0xCE, 0xFC: memory that the failing code may not touch, or not here."""

from __future__ import annotations

from ntsim.nt.events import irql_name
from ntsim.nt.mm import layout
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import tell_level
from ntsim.watch.why.memory import is_pageable, tell_memory

ACCESS = {0: "read of", 1: "write to", 2: "write to", 8: "call of", 0x10: "call of"}
INTERRUPTS_OFF = 0xFF


def explain_irql(case: Case) -> None:
    """0xA and 0xD1: a page fault where none can be served."""
    va, irql, access, _ = case.parameters
    what = tell_memory(case, va)
    why = tell_level(case)
    verb = ACCESS.get(access, "access to")
    case.tell_at_end(
        f"A {verb} {va:#x} ({what}) took a page fault. {_cannot_be_served(case, irql)}"
        f"{_low_down(case, va)}",
        case.state.stack,
    )
    if is_pageable(case, va):
        case.summary = f"A {verb} {what}, where page faults cannot be served: {why}."
    else:
        case.summary = f"A {verb} {what}, wrong at any IRQL; {why}."


def _cannot_be_served(case: Case, irql: int) -> str:
    if irql == INTERRUPTS_OFF:
        level = irql_name(case.state.processors[case.state.processor].irql)
        return (
            f"CR8 says {level}, but interrupts are off: no page fault can be served, and the IRQL "
            "is reported as 0xff."
        )
    return f"At {irql_name(irql)} no page fault can be served."


def _low_down(case: Case, va: int) -> str:
    """What memory that is not pageable would have led to below DISPATCH_LEVEL."""
    if is_pageable(case, va):
        return ""
    if layout.is_user_address(va):
        return " Below DISPATCH_LEVEL it would have been an access violation."
    return " Below DISPATCH_LEVEL it would have been bug check 0x50."


def explain_invalid(case: Case) -> None:
    """0x50 and 0xCE: system memory that is not there, at an IRQL where faults are served."""
    va, access = case.parameters[0], case.parameters[1]
    what = tell_memory(case, va)
    verb = ACCESS.get(access, "access to")
    case.tell_at_end(
        f"A {verb} {va:#x} ({what}) took a page fault, and no page can be brought in. For a "
        "system address no exception handler is asked.",
        case.state.stack,
    )
    case.summary = f"A {verb} {what}."


def explain_protection(case: Case) -> None:
    """0xBE and 0xFC: a page that is there and forbids it."""
    va = case.parameters[0]
    what = tell_memory(case, va)
    verb = "write to" if case.state.code == 0xBE else "call of code in"
    page = "read-only" if case.state.code == 0xBE else "not executable"
    case.tell_at_end(f"The page of {va:#x} ({what}) is {page}.", case.state.stack)
    case.summary = f"A {verb} memory that is {page}: {what}."


EXPLAINS: dict[int, Explainer] = {
    0xA: explain_irql,
    0xD1: explain_irql,
    0x50: explain_invalid,
    0xCE: explain_invalid,
    0xBE: explain_protection,
    0xFC: explain_protection,
}
