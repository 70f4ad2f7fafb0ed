"""PAUSE-loop exiting: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation", PAUSE."""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_VA, GDT_PA, USER_CODE, USER_DATA
from tests.hw.vmx.test_exit_information import information

TICKS = 270  # TSC ticks an instruction at 2.7 GHz
LOOP = "loop: pause; inc rax; jmp loop"  # a PAUSE each 810 ticks


@pytest.fixture
def looping(guest):
    """A guest whose time passes, an instruction in 100 ns, with PAUSE-loop exiting."""
    p = guest.processor
    p.clock.now = 1000
    p.clock.exact = lambda: p.clock.now - p.budget
    guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
    guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_PAUSE_LOOP_EXITING)
    return guest


def limits(guest, gap, window):
    guest.write_fields({f.PLE_GAP: gap, f.PLE_WINDOW: window})


@pytest.mark.parametrize("window", [0, 809, 810, 4096, 100_000])
def test_the_first_pause_beyond_the_window_exits(looping, window):
    limits(looping, 810, window)
    found = looping.launch(LOOP, rax=0)
    assert (found.reason, found.rip) == (f.EXIT_REASON_PAUSE, CODE_VA)
    assert information(looping) == {"length": 2}
    assert looping.gpr("rax") == window // 810 + 1


def test_pauses_further_apart_than_the_gap_are_no_loop(looping):
    limits(looping, 809, 0)
    looping.put(LOOP)
    looping.unit.vmlaunch()
    assert looping.unit.run_guest(3000) is None


def test_every_vm_entry_begins_anew(looping):
    limits(looping, 810, 1620)
    looping.launch(LOOP, rax=0)
    assert looping.gpr("rax") == 3
    looping.resume(skip=False)
    assert looping.gpr("rax") == 6


def test_a_pause_that_comes_late_begins_a_new_loop(looping):
    limits(looping, 540, 540)
    code = "pause; inc rax; pause; nop; nop; nop; pause; inc rax; pause; inc rax; pause; hlt"
    found = looping.launch(code, rax=0)
    assert (found.reason, looping.gpr("rax")) == (f.EXIT_REASON_PAUSE, 3)


def test_pause_exiting_comes_before(looping):
    limits(looping, 810, 1 << 31)
    looping.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_PAUSE_EXITING)
    assert looping.launch(LOOP, rax=0).reason == f.EXIT_REASON_PAUSE
    assert looping.gpr("rax") == 0


def test_in_ring_3_nothing_counts(looping):
    limits(looping, 810, 0)
    words = looping.ram.u64
    assert words[GDT_PA + USER_CODE - 3 >> 3]
    looping.write_fields(
        {
            f.GUEST_CS_SELECTOR: USER_CODE,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: USER_DATA,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
        }
    )
    looping.put(LOOP)
    looping.unit.vmlaunch()
    assert looping.unit.run_guest(3000) is None
