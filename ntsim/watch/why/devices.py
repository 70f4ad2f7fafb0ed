"""0x9F and 0xCA: power IRPs that stay somewhere, and what a bus driver reported."""

from __future__ import annotations

from ntsim.nt.events import PowerIrpSent
from ntsim.nt.io.irp import irp_holder
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.general import explain as explain_generally
from ntsim.watch.why.irp_life import tell_life

BLOCKED, FREED = 3, 1
PNP_MISTAKES = {
    1: "reported two PDOs with the same device and instance ID",
    2: "passed a device object where the PDO of an enumerated device is needed",
    3: "gave an ID with a character that no ID may contain, or without its end",
    4: "reported a PDO that it had deleted with IoDeleteDevice",
    5: "let the last reference to a PDO go that the PnP manager still has in its tree",
    8: "reported NULL as one of the devices on its bus",
    9: "passed IoDisconnectInterruptEx a connection type that is none",
    0xA: "came back from a notification callback with another IRQL or APC-disable count",
}


def holder_of(case: Case, address: int) -> str:
    """The driver whose stack location is current in an IRP, empty if there is none."""
    driver = irp_holder(case.nt, address)
    return case.nt.io.driver_name(driver) if driver else ""


def explain_power(case: Case) -> None:
    """Who has the power IRP, and since when."""
    kind, device = case.parameters[:2]
    if kind == FREED:
        text = f"Device object {device:#x} was deleted while its driver held a power IRP."
        case.tell_at_end(text, case.state.stack)
        case.summary = text
        return
    if kind != BLOCKED:
        explain_generally(case)
        return
    irp = case.parameters[3]
    sent = next((e for e in case.newest_first(PowerIrpSent) if e.irp == irp), None)
    request = f"IRP {irp:#x} ({sent.request})" if sent is not None else f"IRP {irp:#x}"
    if sent is not None:
        case.tell(sent, f"The power manager sent {request}.")
    tell_life(case, irp)
    holder = holder_of(case, irp)
    who = f"{holder} has it" if holder else "it is with no driver"
    case.tell_at_end(
        f"Ten minutes later {request} is not completed: {who}. A driver that marks a power IRP "
        "pending must pass it on or complete it later."
    )
    case.summary = f"A power IRP was never completed: {request}; {who}."


def explain_pnp(case: Case) -> None:
    """Which rule of the PnP manager's was broken."""
    mistake = PNP_MISTAKES.get(case.parameters[0])
    if mistake is None:
        explain_generally(case)
        return
    case.tell_at_end(f"A driver {mistake}.", case.state.stack)
    case.summary = f"A driver {mistake}."


EXPLAINS: dict[int, Explainer] = {0x9F: explain_power, 0xCA: explain_pnp}
