"""The VMX-preemption timer: SDM 3, "VMX-Preemption Timer"; kvm-unit-tests, x86/vmx_tests.c."""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_VA
from tests.hw.vmx.test_exit_information import information, turn_on

HANDLERS_VA = 0xFFFF_F800_0006_0000
VALID, HARDWARE = 1 << 31, 3 << 8
TICKS, SHIFT = 270, 7  # TSC ticks an instruction at 2.7 GHz; IA32_VMX_MISC[4:0] of the i7-6820HQ


@pytest.fixture
def timed(guest):
    """A guest whose time passes: each instruction uses up one of the budget, which is 100 ns."""
    p = guest.processor
    p.clock.now = 1000
    p.clock.exact = lambda: p.clock.now - p.budget
    guest.control(f.PIN_BASED_VM_EXEC_CONTROL, f.PIN_BASED_ACTIVATE_VMX_PREEMPTION_TIMER)
    assert guest.capabilities.misc.preemption_timer_shift == SHIFT
    return guest


def start(guest, value):
    guest.write_fields({f.GUEST_PREEMPTION_TIMER: value})


def expected(guest, value):
    """Instructions until the counter's bit has changed `value` times."""
    tsc = guest.processor.clock.tsc
    deadline = (tsc >> SHIFT) + value << SHIFT
    count = 0
    while guest.processor.clock.tsc_at(guest.processor.clock.exact() + count) < deadline:
        count += 1
    return count


@pytest.mark.parametrize("value", [1, 2, 10, 100, 1000])
def test_it_exits_at_the_first_boundary_at_which_the_counter_has_gone_far_enough(timed, value):
    start(timed, value)
    instructions = expected(timed, value)
    timed.put("loop: inc rax; jmp loop")
    timed.unit.vmlaunch()
    found = timed.go()
    assert found.reason == f.EXIT_REASON_VMX_PREEMPTION_TIMER
    assert timed.unit.retired == instructions
    assert timed.gpr("rax") == (instructions + 1) // 2
    assert information(timed) == {}


def test_the_quantum_makes_no_difference(timed):
    start(timed, 100)
    instructions = expected(timed, 100)
    timed.put("loop: inc rax; jmp loop")
    timed.unit.vmlaunch()
    count = 0
    while (found := timed.unit.run_guest(7)) is None:
        count += timed.unit.retired
    assert found.reason == f.EXIT_REASON_VMX_PREEMPTION_TIMER
    assert count + timed.unit.retired == instructions


def test_a_value_of_0_exits_before_the_first_instruction(timed):
    start(timed, 0)
    found = timed.launch("nop; hlt")
    assert (found.reason, found.rip) == (f.EXIT_REASON_VMX_PREEMPTION_TIMER, CODE_VA)


def test_an_injected_event_is_delivered_before_that(timed):
    start(timed, 0)
    timed.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 1})
    found = timed.launch("nop; hlt")
    assert (found.reason, found.rip) == (f.EXIT_REASON_VMX_PREEMPTION_TIMER, HANDLERS_VA + 16)


def test_it_comes_before_an_interrupt_window(timed):
    start(timed, 0)
    turn_on(timed, f.CPU_BASED_INTERRUPT_WINDOW_EXITING)
    timed.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
    assert timed.launch("nop").reason == f.EXIT_REASON_VMX_PREEMPTION_TIMER


def test_a_single_step_trap_comes_before_it(timed):
    """Debug traps have the higher priority."""
    start(timed, 1)
    timed.write_fields({f.GUEST_RFLAGS: f.RFLAGS_TF | 2, f.EXCEPTION_BITMAP: 1 << f.VECTOR_DB})
    found = timed.launch("nop; nop; hlt")
    assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA + 1)


def test_it_runs_in_a_halted_guest_which_stays_halted(timed):
    start(timed, 100)
    instructions = expected(timed, 100)
    timed.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_HLT_EXITING, clear=True)
    found = timed.launch("hlt; nop")
    assert (found.reason, found.rip) == (f.EXIT_REASON_VMX_PREEMPTION_TIMER, CODE_VA + 1)
    assert timed.read(f.GUEST_ACTIVITY_STATE) == f.ACTIVITY_STATE_HLT
    assert timed.unit.retired == instructions


def test_an_interrupt_still_wakes_it(timed):
    start(timed, 1_000_000)
    timed.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_HLT_EXITING, clear=True)
    timed.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
    timed.put("hlt; cpuid")
    timed.engine.write_code(0x20_6000 + 16 * 0xD1, b"\x0f\xa2")
    timed.unit.vmlaunch()
    assert timed.unit.run_guest(50) is None
    timed.processor.apic.request(0xD1)
    assert timed.go().reason == f.EXIT_REASON_CPUID


@pytest.mark.parametrize("saves", [True, False])
def test_an_exit_saves_what_is_left_where_its_control_says_so(timed, saves):
    if saves:
        timed.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER_VALUE)
    start(timed, 500)
    before = timed.processor.clock.tsc >> SHIFT
    timed.launch("nop; nop; nop; nop; cpuid")
    gone = (timed.processor.clock.tsc >> SHIFT) - before
    assert gone > 0
    assert timed.read(f.GUEST_PREEMPTION_TIMER) == 500 - (gone if saves else 0)


def test_one_that_has_expired_is_saved_as_0(timed):
    timed.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER_VALUE)
    start(timed, 3)
    timed.launch("loop: jmp loop")
    assert timed.read(f.GUEST_PREEMPTION_TIMER) == 0


def test_each_entry_starts_it_again(timed):
    start(timed, 40)
    timed.launch("loop: jmp loop")
    first = timed.unit.retired
    assert timed.resume(skip=False).reason == f.EXIT_REASON_VMX_PREEMPTION_TIMER
    assert abs(timed.unit.retired - first) <= 1


def test_saving_without_activating_is_error_7(guest):
    guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER_VALUE)
    assert guest.unit.vmlaunch().error == 7
