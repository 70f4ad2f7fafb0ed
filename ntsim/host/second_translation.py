"""EPT for the accesses of a system guest: guarded views of memory.

Python's own data accesses ignore EPT (docs/ARCHITECTURE.md), except those to guarded memory, paged
pool and user memory, which go through the page tables one by one and so through EPT as well. An
access that EPT forbids exits; when the handler comes back the translation is tried again, and with
the monitor trap flag set the guest exits once more when the access has been made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu import Processor
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.mmu import EXECUTE, READ, WRITE
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest import ept
from ntsim.hw.vmx.guest.ept import Ept, EptFault
from ntsim.hw.vmx.guest.events import add_page_rights, ept_information
from ntsim.hw.vmx.guest.memory import GuestMemory
from ntsim.hw.vmx.guest.modification_log import PageModificationLog
from ntsim.hw.vmx.guest.virtualization_exceptions import recorded
from ntsim.hw.vmx.virtualised import VirtualisedProcessor
from ntsim.nt.ki.fault import ki_virtualization_exception

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

Leave = Callable[["Kernel", Processor, ExitInformation], bool]
_trapping = "trapping"
"""In the interleaver while a monitor trap is pending: the processor. With it goes `give_way`."""

_ACCESS = {READ: ept.READ, WRITE: ept.WRITE, EXECUTE: ept.FETCH}


def guard_views(nt: Kernel, leave: Leave) -> None:
    """From now on translations of guarded memory go on through the EPT of who runs."""
    mmu, ram = nt.mmu, nt.mm.ram
    if "host" in vars(mmu):
        return
    plain, il = mmu.host, nt.il

    def host(va: int, access: int = READ, user: bool = False) -> int:
        if _trapping in vars(il) and vars(il)[_trapping] is il.current:
            il.give_way()  # the access before is an instruction of its own
        while True:
            found = plain(va, access, user)
            processor = il.current
            if not isinstance(processor, VirtualisedProcessor):
                return found
            pointer = processor.controls.eptp
            pa = found - ram.address
            if pointer is None or not 0 <= pa < ram.size:
                return found
            unit, controls = processor.vmx, processor.controls
            logs = controls.secondary & abi.SECONDARY_ENABLE_PML
            log = PageModificationLog(unit) if logs else None
            tables = Ept(pointer, unit.capabilities, ram, log)
            try:
                found = ram.address + tables.translate(pa, _ACCESS[access], va)
            except EptFault as fault:
                add_page_rights(GuestMemory(processor, unit.capabilities, None), unit, fault)
                if recorded(unit, controls.secondary, processor.cr0, fault):
                    if processor.excepted(ProcessorException(abi.VECTOR_VE)) is None:
                        ki_virtualization_exception(nt)
                    continue
                leave(nt, processor, ept_information(fault))
                continue
            if processor.controls.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG:
                _trap_after_access(nt, processor, leave)
            return found

    mmu.host = host  # type: ignore[method-assign]


def _trap_after_access(nt: Kernel, processor: Processor, leave: Leave) -> None:
    """Exit at the processor's next step, when the access that goes on now has been made.

    What is left of the quantum is put aside, so that the step gives way and comes here.
    """
    il = nt.il
    if "give_way" in vars(il):
        return
    plain, rest = il.give_way, processor.budget
    vars(il)[_trapping] = processor
    processor.budget = 0

    def give_way() -> None:
        if il.current is not processor:
            plain()
            return
        del il.give_way, vars(il)[_trapping]
        processor.budget = rest - 1
        flag = abi.CPU_BASED_MONITOR_TRAP_FLAG
        if isinstance(processor, VirtualisedProcessor) and processor.controls.primary & flag:
            leave(nt, processor, ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG))
        if processor.budget < 0:
            plain()

    il.give_way = give_way  # type: ignore[method-assign]
