"""0x35, 0x44, 0x48, 0x11B: the life of one IRP."""

from __future__ import annotations

from ntsim.abi.io import IRP
from ntsim.nt.events import IrpCancelled, IrpCompleted, IrpSent
from ntsim.watch.why.case import Case, Explainer

IrpEvent = IrpSent | IrpCompleted | IrpCancelled


def life(case: Case, irp: int) -> list[IrpEvent]:
    """What happened to the IRP since it was last sent from the top, oldest first.

    Memory is used again: an IRP that was completed and then sent is a new one.
    """
    found: list[IrpEvent] = []
    for event in case.events:
        if not isinstance(event, IrpEvent) or event.irp != irp:
            continue
        if isinstance(event, IrpSent) and any(isinstance(e, IrpCompleted) for e in found):
            found = []
        found.append(event)
    return found


def tell_life(case: Case, irp: int) -> list[IrpEvent]:
    """A step for each event of the IRP's life."""
    events = life(case, irp)
    for event in events:
        if isinstance(event, IrpSent):
            case.tell(event, f"IRP {irp:#x} ({event.major}) was sent to {event.driver}.")
        elif isinstance(event, IrpCompleted):
            case.tell(event, f"IRP {irp:#x} was completed with {event.status}.")
        else:
            case.tell(event, f"IRP {irp:#x} was cancelled.")
    return events


def explain_completed_twice(case: Case) -> None:
    irp = case.parameters[0]
    events = tell_life(case, irp)
    case.tell_at_end(f"IRP {irp:#x} was completed again.", case.state.stack)
    first = next((e for e in events if isinstance(e, IrpCompleted)), None)
    again = case.sources.place(case.state.stack)
    where = f"first at {first.where}, then at {again}" if first else f"the second time at {again}"
    case.summary = f"An IRP was completed twice: {where}."


def explain_no_location(case: Case) -> None:
    irp = case.parameters[0]
    tell_life(case, irp)
    count = IRP.at(case.nt.mmu, irp).StackCount
    case.tell_at_end(
        f"The IRP was sent down once more. It was made with StackCount {count}; all are used.",
        case.state.stack,
    )
    case.summary = f"An IRP was sent to one driver more than it has stack locations: {count}."


def explain_cancel(case: Case) -> None:
    irp, routine = case.parameters[0], case.parameters[1]
    tell_life(case, irp)
    name = case.nt.describe_address(routine)
    if case.state.code == 0x48:
        text = f"The IRP was over with its cancel routine {name} still set."
        hint = "Before completing an IRP its driver takes the routine back: IoSetCancelRoutine."
    else:
        text = f"The cancel routine {name} returned and still holds the cancel spin lock."
        hint = "A cancel routine releases it to Irp->CancelIrql."
    case.tell_at_end(f"{text} {hint}", case.state.stack)
    case.summary = text


EXPLAINS: dict[int, Explainer] = {
    0x35: explain_no_location,
    0x44: explain_completed_twice,
    0x48: explain_cancel,
    0x11B: explain_cancel,
}
