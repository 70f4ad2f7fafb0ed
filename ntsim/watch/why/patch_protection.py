"""0x109: code, a descriptor table, MSR or control register is not what it was at the start."""

from __future__ import annotations

from ntsim.nt.events import StructureChanged, SystemRegisterLoaded, VmExited
from ntsim.watch.why.case import Case, Explainer

CODE, TABLE = "the code of ", "the table "
LIMIT_AFTER_EXIT = 0xFFFF
MOST_LOADS = 3


def explain(case: Case) -> None:
    """What differs, and what loaded it last on that processor."""
    number = case.state.processor
    changed = case.last(StructureChanged, processor=number)
    if changed is None:
        case.summary = "Something that a driver may not change is changed."
        return
    if changed.what.startswith(CODE):
        _explain_code(case, changed)
        return
    if changed.what.startswith(TABLE):
        _explain_table(case, changed)
        return
    whose = f"{changed.what} of processor {number}"
    cause = ""
    if changed.what.endswith("limit") and changed.now == LIMIT_AFTER_EXIT:
        cause = _tell_exit(case, changed)
    cause = cause or _tell_loads(case, changed)
    case.tell(
        changed,
        f"Patch protection looked, minutes later: {whose} is {changed.now:#x}. It was "
        f"{changed.was:#x} when Windows had started.",
    )
    case.summary = f"{whose} was {changed.was:#x} and is {changed.now:#x}{cause}."
    case.summary = case.summary[:1].upper() + case.summary[1:]


def _explain_code(case: Case, changed: StructureChanged) -> None:
    """What the bytes are; nothing is recorded of who wrote them."""
    was, now = (f"{value:016x}" for value in (changed.was, changed.now))
    what = changed.what.removeprefix(CODE)
    case.tell(
        changed,
        f"Patch protection looked, minutes later: at {what} the kernel's code is {now}. It was "
        f"{was} when Windows had loaded it.",
    )
    case.summary = (
        f"The kernel's code at {what} was {was} and is {now}: somebody has written a hook or a "
        "breakpoint over it. What may be hooked has a callback for it; a hypervisor can show "
        "another page to instruction fetches (EPT, execute only)."
    )


def _explain_table(case: Case, changed: StructureChanged) -> None:
    """What the bytes are; those of an entry of KiServiceTable are the routine's distance."""
    width = 8 if "(Nt" in changed.what else 16
    was, now = (f"{value:0{width}x}" for value in (changed.was, changed.now))
    what = changed.what.removeprefix(TABLE)
    case.tell(
        changed,
        f"Patch protection looked, minutes later: the bytes at {what} are {now}. They were {was} "
        "when Windows had started.",
    )
    case.summary = (
        f"The table of system services at {what} was {was} and is {now}: somebody has hooked "
        "system calls. What may be watched has a callback for it: ObRegisterCallbacks for handles "
        "of processes and threads, CmRegisterCallbackEx for the registry, a minifilter for files."
    )


def _tell_exit(case: Case, changed: StructureChanged) -> str:
    left = case.last(VmExited, processor=case.state.processor, before=changed)
    if left is None:
        return ""
    case.tell(
        left,
        f"VM exit ({left.reason}): the processor loaded the limits of GDTR and IDTR with 0xffff "
        "(SDM 3, Loading Host Segment and Descriptor-Table Registers). Whoever leaves the guest "
        "for good has to load them again, with LGDT and LIDT.",
    )
    return ": a VM exit has set it, and nothing has put it back"


def _tell_loads(case: Case, changed: StructureChanged) -> str:
    """The last loads of that register on that processor; the last of all for the summary."""
    register = changed.what
    for table in ("GDT", "IDT"):
        if register.startswith(f"the {table}"):
            register = f"{table}R"
    loads = case.newest_first(
        SystemRegisterLoaded, processor=case.state.processor, before=changed
    )
    found = [load for load in loads if load.what == register][:MOST_LOADS]
    for load in found:
        case.tell(load, f"{load.what} was loaded with {load.value:#x}.")
    return f": it was loaded at {found[0].where}" if found else ""


EXPLAINS: dict[int, Explainer] = {0x109: explain}
