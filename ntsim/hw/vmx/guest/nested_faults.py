"""A nested fault of the engine: one more page to map, or an EPT violation.

The engine has no pages that can be executed and not read. Such a page is mapped for one
instruction, which has been looked at: its operands are not in that page.

The engine writes to a guest's paging structures whenever it reads them. That is what EPT with
accessed and dirty flags does too; without them a read-only page may hold structures whose own flags
are set already. Such a page is writable for one instruction, which does not write there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.engine import ExitKind
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.ept import FETCH, READ, WRITE, Ept, EptPage
from ntsim.hw.vmx.guest.fetches import forbid_fetches, next_fetch
from ntsim.hw.vmx.guest.operands import accesses, far_operand, linear_candidates
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ntsim.hw.engine import Exit

_FAULT_WRITE, _FAULT_FETCH = 1 << 1, 1 << 4
_RING_3 = 3
_PAGE = 0x1000


def nested_fault(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Map what EPT allows; EptFault where it does not."""
    assert guest.ept is not None and guest.nested is not None, f"nested fault without EPT: {exit_}"
    code, address = exit_.error_code or 0, exit_.address
    access = FETCH if code & _FAULT_FETCH else WRITE if code & _FAULT_WRITE else READ
    page = guest.ept.walk(address)
    if access & ~page.rights:
        _refused(guest, guest.ept, address, access, page)
        return None
    writable = guest.ept.use(page, address, access)
    guest.nested.map(address, page, writable=writable)
    guest.engine.flush_tlb()
    if not page.rights & FETCH:
        forbid_fetches(guest, address, page)
    if not page.rights & READ:
        guest.borrow(address, flush=True)
        for linear in operands_within(guest, address, READ | WRITE):
            give_back(guest)
            raise guest.ept.violation(_reached(guest, address, linear), READ, page, linear)
    return None


def run_one(guest: Guest) -> Exit:
    """The instruction that has borrowed pages, after which they are gone again.

    They stay where it goes on into one more page.
    """
    if guest.asks_each and (refused := next_fetch(guest)) is not None:
        return guest.engine.refuse_fetch(guest.world, guest.registers, refused)
    exit_ = _at_far(guest) or guest.engine.run(guest.world, guest.registers, 1)
    if exit_.kind is not ExitKind.QUANTUM_END:
        _ = exit_.instruction  # decoded while its bytes can be read
    if exit_.kind is not ExitKind.NESTED_FAULT:
        give_back(guest)
    return exit_


def _at_far(guest: Guest) -> Exit | None:
    """The stop before what may switch tasks, where blocks are not counted."""
    world = guest.world
    if not world.stops_far or guest.engine.by_block or far_operand(guest) is None:
        return None
    return guest.engine.stop(world, guest.registers, ExitKind.FAR_TRANSFER)


def give_back(guest: Guest) -> None:
    """The pages mapped for one instruction are not mapped any more."""
    assert guest.nested is not None
    for page in guest.borrowed:
        guest.nested.unmap(page)
    if any(guest.borrowed.values()):
        guest.engine.flush_tlb()
    guest.borrowed.clear()
    guest.careful = guest.asks_each or guest.steps_far


def _refused(guest: Guest, ept: Ept, address: int, access: int, page: EptPage) -> None:
    """The violation with its linear address: what the instruction touches in that page.

    It comes back where the engine alone wanted to write to a paging structure.
    """
    for linear, wanted in linear_candidates(guest, access):
        of_structure = guest.memory.touches(linear, address)
        if of_structure is None:
            continue
        if not of_structure or ept.has_flags:
            access = access if not of_structure else READ | WRITE
            raise ept.violation(address, access, page, linear, of_structure=of_structure)
        guest.memory.translate(linear, wanted, guest.cpl == _RING_3)
        _lend(guest, ept, address, page)
        return
    raise ept.violation(address, access, page, None)


def _lend(guest: Guest, ept: Ept, address: int, page: EptPage) -> None:
    """The processor has only read paging structures in the page: writable for an instruction."""
    assert guest.nested is not None
    for linear in operands_within(guest, address, WRITE):
        raise ept.violation(_reached(guest, address, linear), WRITE, page, linear)
    frame = page.frame | address & page.size - 1 & ~0xFFF
    one = EptPage(frame, 1 << 12, page.rights | WRITE, page.path, page.suppressed)
    guest.nested.unmap(address)
    guest.nested.map(address, one, writable=True)
    stays = any(True for _ in operands_within(guest, address, READ))
    stays = stays or guest.memory.touches(_code(guest), address) is False
    guest.borrow(address, flush=stays)
    guest.engine.flush_tlb()


def _code(guest: Guest) -> int:
    registers = guest.registers
    return guest.world.view.code_address(registers.rip, registers.cs)


def _reached(guest: Guest, address: int, linear: int) -> int:
    """The guest-physical address of the access at `linear` to the page of `address`.

    The engine named a byte of the code in it; an access that began in the page before comes to the
    first byte.
    """
    found = guest.memory.guest_physical(linear)
    within = found is not None and (found ^ address) < _PAGE
    return found if within and found is not None else address & -_PAGE


def operands_within(guest: Guest, address: int, rights: int) -> Iterator[int]:
    """What the instruction at RIP reads or writes in the guest-physical page of `address`."""
    for one in accesses(guest):
        for linear in {one.linear, one.linear + one.size - 1}:
            if one.rights & rights and guest.memory.touches(linear, address) is False:
                yield one.linear
                break
