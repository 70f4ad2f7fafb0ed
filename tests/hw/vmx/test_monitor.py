"""MONITOR and MWAIT of a guest without their controls: SDM 2, "MONITOR", "MWAIT"."""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_VA, DATA_VA, UNMAPPED_VA

FAULTS = 1 << f.VECTOR_PF | 1 << f.VECTOR_GP
VALID, ERROR_CODE, HARDWARE = 1 << 31, 1 << 11, 3 << 8


def test_monitor_goes_on_where_its_byte_can_be_read(guest):
    found = guest.launch("monitor; mwait; hlt", rax=DATA_VA, rcx=0)
    assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, CODE_VA + 6)


def test_monitor_of_a_page_that_is_not_there_is_a_page_fault(guest):
    guest.write_fields({f.EXCEPTION_BITMAP: FAULTS})
    found = guest.launch("monitor", rax=UNMAPPED_VA + 8, rcx=0)
    assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA)
    event = VALID | ERROR_CODE | HARDWARE | f.VECTOR_PF
    assert guest.read(f.VM_EXIT_INTR_INFO) == event
    assert guest.read(f.VM_EXIT_INTR_ERROR_CODE) == 0
    assert found.qualification == UNMAPPED_VA + 8


def test_a_prefix_gives_the_segment_and_the_size_of_the_address(guest):
    guest.write_fields({f.GUEST_FS_BASE: DATA_VA - 0x10})
    found = guest.launch(bytes.fromhex("64 67 0f01c8 f4"), rax=0xFFFF_0000_0000_0020, rcx=0)
    assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, CODE_VA + 5)


@pytest.mark.parametrize(("code", "extension"), [("monitor", 1), ("mwait", 2)])
def test_an_extension_that_is_not_there_is_general_protection(guest, code, extension):
    guest.write_fields({f.EXCEPTION_BITMAP: FAULTS})
    found = guest.launch(code, rax=DATA_VA, rcx=extension)
    assert found.reason == f.EXIT_REASON_EXCEPTION_OR_NMI
    assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | ERROR_CODE | HARDWARE | f.VECTOR_GP


def test_mwait_may_be_told_to_break_on_a_masked_interrupt(guest):
    found = guest.launch("mwait; hlt", rax=0, rcx=1)
    assert found.reason == f.EXIT_REASON_HLT
