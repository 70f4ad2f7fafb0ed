"""A nested fault of the engine: one more page to map, or an EPT violation.

The engine has no pages that can be executed and not read. Such a page is mapped for one
instruction, which has been looked at: its operands are not in that page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.engine import ExitKind
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.ept import FETCH, READ, WRITE, EptFault
from ntsim.hw.vmx.guest.operands import linear_candidates, operands
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ntsim.hw.engine import Exit

_FAULT_WRITE, _FAULT_FETCH = 1 << 1, 1 << 4


def nested_fault(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Map what EPT allows; EptFault where it does not."""
    assert guest.ept is not None and guest.nested is not None, f"nested fault without EPT: {exit_}"
    code = exit_.error_code or 0
    access = FETCH if code & _FAULT_FETCH else WRITE if code & _FAULT_WRITE else READ
    page = guest.ept.walk(exit_.address)
    if access & ~page.rights:
        raise violation(guest, exit_.address, access, page.rights)
    guest.nested.map(exit_.address, page)
    guest.engine.flush_tlb()
    if not page.rights & READ:
        guest.execute_only += (exit_.address,)
        for linear in operands_within(guest, exit_.address):
            forget_execute_only(guest)
            raise violation(guest, exit_.address, READ, page.rights, linear)
    return None


def run_execute_only(guest: Guest) -> Exit:
    """The instruction in pages for execution only, after which they are gone again.

    They stay where it goes on into one more page.
    """
    exit_ = guest.engine.run(guest.world, guest.registers, 1)
    if exit_.kind is not ExitKind.QUANTUM_END:
        _ = exit_.instruction  # decoded while its bytes can be read
    if exit_.kind is not ExitKind.NESTED_FAULT:
        forget_execute_only(guest)
    return exit_


def forget_execute_only(guest: Guest) -> None:
    """The pages for execution only are not mapped any more."""
    assert guest.nested is not None
    for page in guest.execute_only:
        guest.nested.unmap(page)
    guest.execute_only = ()
    guest.engine.flush_tlb()


def violation(
    guest: Guest, address: int, access: int, rights: int, linear: int | None = None
) -> EptFault:
    """The violation with its linear address: the operand whose translation touches `address`."""
    assert guest.ept is not None
    candidates = linear_candidates(guest, access) if linear is None else (linear,)
    for linear in candidates:
        of_structure = guest.memory.touches(linear, address)
        if of_structure is not None:
            return guest.ept.violation(address, access, rights, linear, of_structure=of_structure)
    return guest.ept.violation(address, access, rights, None)


def operands_within(guest: Guest, address: int) -> Iterator[int]:
    """Memory operands of the instruction at RIP in the guest-physical page of `address`."""
    for linear in operands(guest):
        if guest.memory.touches(linear, address) is False:
            yield linear
