"""NMI blocking, virtual NMIs, NMI-window exiting, and debug exceptions that were pending.

Source: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation" (IRET), "NMI-Window
Exiting" under "Other Causes of VM Exits", "Delivery of Pending Debug Exceptions after VM Entry";
kvm-unit-tests, x86/vmx_tests.c (vmx_nmi_window_test, vmx_db_test).
"""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_VA, HANDLERS_PA
from tests.hw.vmx.test_exit_information import information, turn_on

HANDLERS_VA, UNMAPPED_VA = 0xFFFF_F800_0006_0000, 0xFFFF_F800_0007_0000
STACK_PA, STACK_TOP = 0x20_2000, 0xFFFF_F800_0002_0FF0
VALID, NMI, HARDWARE, SOFTWARE = 1 << 31, 2 << 8, 3 << 8, 6 << 8
INJECTED_NMI = {f.VM_ENTRY_INTR_INFO_FIELD: VALID | NMI | 2}
NMI_HANDLER = HANDLERS_PA + 16 * 2
BS, ENABLED = 1 << 14, 1 << 12
IRET = b"\x48\xcf"
PIN = f.PIN_BASED_VM_EXEC_CONTROL
VIRTUAL = f.PIN_BASED_NMI_EXITING | f.PIN_BASED_VIRTUAL_NMIS


def blocked(guest):
    return bool(guest.read(f.GUEST_INTERRUPTIBILITY_STATE) & f.BLOCKING_BY_NMI)


@pytest.fixture
def virtual(guest):
    """Virtual NMIs; the handler of NMIs is CPUID, IRET."""
    guest.control(PIN, VIRTUAL)
    guest.engine.write_code(NMI_HANDLER, b"\x0f\xa2" + IRET)
    return guest


class TestBlocking:
    @pytest.mark.parametrize("pin", [0, f.PIN_BASED_NMI_EXITING, VIRTUAL])
    def test_an_injected_nmi_blocks_further_ones(self, guest, pin):
        guest.control(PIN, pin)
        guest.write_fields(INJECTED_NMI)
        assert guest.launch("nop").rip == HANDLERS_VA + 32
        assert blocked(guest)

    @pytest.mark.parametrize(
        ("pin", "still"), [(0, False), (f.PIN_BASED_NMI_EXITING, True), (VIRTUAL, False)]
    )
    def test_iret_ends_it_unless_nmis_are_the_hosts_alone(self, guest, pin, still):
        guest.control(PIN, pin)
        guest.write_fields(INJECTED_NMI)
        guest.engine.write_code(NMI_HANDLER, IRET)
        found = guest.launch("nop; cpuid")
        assert (found.reason, found.rip) == (f.EXIT_REASON_CPUID, CODE_VA + 1)
        assert blocked(guest) == still

    def test_it_lasts_from_exit_to_entry(self, virtual):
        virtual.write_fields(INJECTED_NMI)
        assert virtual.launch("nop; cpuid").reason == f.EXIT_REASON_CPUID
        assert blocked(virtual)
        assert virtual.resume().rip == CODE_VA + 1
        assert not blocked(virtual)

    def test_interrupts_that_return_inside_the_handler_end_it_too(self, virtual):
        """Any IRET does."""
        virtual.write_fields(INJECTED_NMI)
        virtual.engine.write_code(NMI_HANDLER, b"\xcd\x80\x0f\xa2")
        virtual.engine.write_code(HANDLERS_PA + 16 * 0x80, IRET)
        assert virtual.launch("nop").rip == HANDLERS_VA + 32 + 2
        assert not blocked(virtual)

    def test_injecting_one_while_blocked_is_an_entry_failure_with_virtual_nmis(self, virtual):
        virtual.write_fields({**INJECTED_NMI, f.GUEST_INTERRUPTIBILITY_STATE: f.BLOCKING_BY_NMI})
        assert virtual.unit.vmlaunch().reason == 0x8000_0021

    def test_a_delivery_that_faults_leaves_them_blocked(self, virtual):
        """As who injects it again relies on (SDM 3, "Unwinding IDT Vectoring")."""
        virtual.write_fields({**INJECTED_NMI, f.EXCEPTION_BITMAP: 1 << f.VECTOR_NP})
        virtual.set_gate(2, rights=0x0E)
        virtual.launch("nop")
        assert virtual.read(f.IDT_VECTORING_INFO) == VALID | NMI | 2
        assert blocked(virtual)

    def test_a_fault_of_the_iret_has_ended_it_and_says_so(self, virtual):
        code = 1 << 11
        virtual.write_fields({**INJECTED_NMI, f.EXCEPTION_BITMAP: 1 << f.VECTOR_PF})
        virtual.engine.write_code(NMI_HANDLER, b"\x48\x89\xc4" + IRET)  # MOV RSP, RAX
        found = virtual.launch("nop", rax=UNMAPPED_VA)
        assert found.rip == HANDLERS_VA + 32 + 3
        event = VALID | HARDWARE | code | f.VECTOR_PF | 1 << 12
        assert information(virtual) == {"qualification": UNMAPPED_VA, "event": event}
        assert not blocked(virtual)

    def test_an_ept_violation_of_the_iret_says_so_in_its_qualification(self, virtual):
        virtual.enable_ept()
        virtual.write_fields(INJECTED_NMI)
        virtual.launch("nop")
        virtual.set_ept(STACK_PA, 0)
        virtual.unit.invept(2, 0)
        found = virtual.resume()
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert found.qualification & 1 << 12
        assert not blocked(virtual)

    def test_virtual_nmis_need_nmi_exiting(self, guest):
        guest.control(PIN, f.PIN_BASED_VIRTUAL_NMIS)
        assert guest.unit.vmlaunch().error == 7


class TestWindow:
    def test_it_exits_at_once_where_nothing_blocks(self, virtual):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING)
        found = virtual.launch("nop")
        assert (found.reason, found.rip) == (f.EXIT_REASON_NMI_WINDOW, CODE_VA)
        assert information(virtual) == {}

    def test_it_exits_behind_the_iret_of_the_handler(self, virtual):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING)
        virtual.write_fields(INJECTED_NMI)
        assert virtual.launch("nop; nop").reason == f.EXIT_REASON_CPUID
        found = virtual.resume()
        assert (found.reason, found.rip) == (f.EXIT_REASON_NMI_WINDOW, CODE_VA)

    def test_blocking_by_mov_ss_holds_it_off_for_one_instruction(self, virtual):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING)
        virtual.write_fields({f.GUEST_INTERRUPTIBILITY_STATE: f.BLOCKING_BY_MOV_SS})
        found = virtual.launch("nop; nop")
        assert (found.reason, found.rip) == (f.EXIT_REASON_NMI_WINDOW, CODE_VA + 1)

    def test_an_event_is_injected_before_it(self, virtual):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING)
        virtual.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 1})
        found = virtual.launch("nop")
        assert (found.reason, found.rip) == (f.EXIT_REASON_NMI_WINDOW, HANDLERS_VA + 16)

    @pytest.mark.parametrize("activity", [f.ACTIVITY_STATE_HLT, f.ACTIVITY_STATE_SHUTDOWN])
    def test_it_opens_in_a_guest_that_waits(self, virtual, activity):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING)
        virtual.write_fields({f.GUEST_ACTIVITY_STATE: activity})
        assert virtual.launch("nop").reason == f.EXIT_REASON_NMI_WINDOW
        assert virtual.read(f.GUEST_ACTIVITY_STATE) == activity

    def test_it_comes_before_the_interrupt_window(self, virtual):
        turn_on(virtual, f.CPU_BASED_NMI_WINDOW_EXITING | f.CPU_BASED_INTERRUPT_WINDOW_EXITING)
        virtual.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        assert virtual.launch("nop").reason == f.EXIT_REASON_NMI_WINDOW

    def test_it_needs_virtual_nmis(self, guest):
        turn_on(guest, f.CPU_BASED_NMI_WINDOW_EXITING)
        assert guest.unit.vmlaunch().error == 7


class TestPendingDebugExceptions:
    @pytest.fixture
    def pending(self, guest):
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_DB})
        guest.processor.dr[6] = 0xFFFF_0FF0 | 1 << 3
        return guest

    def enter(self, guest, pending, tf=False, **fields):
        guest.write_fields(
            {
                f.GUEST_PENDING_DBG_EXCEPTIONS: pending,
                f.GUEST_RFLAGS: 2 | (f.RFLAGS_TF if tf else 0),
                **{getattr(f, name): value for name, value in fields.items()},
            }
        )
        return guest.launch("nop; nop; hlt")

    @pytest.mark.parametrize("causes", [ENABLED | 1, ENABLED | 0xA])
    def test_they_are_delivered_before_the_first_instruction(self, pending, causes):
        found = self.enter(pending, causes)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA)
        assert information(pending) == {
            "qualification": causes & 0xF,
            "event": VALID | HARDWARE | f.VECTOR_DB,
        }
        assert pending.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == 0
        assert pending.processor.dr[6] == 0xFFFF_0FF0 | 1 << 3

    def test_a_single_step_trap_may_be_among_them(self, pending):
        found = self.enter(pending, BS, tf=True)
        assert (found.rip, found.qualification) == (CODE_VA, BS)

    def test_breakpoints_that_are_not_enabled_are_not_pending(self, pending):
        assert self.enter(pending, 0x3).reason == f.EXIT_REASON_HLT

    def test_behind_mov_ss_they_wait_for_the_next_instruction_and_add_up(self, pending):
        found = self.enter(
            pending,
            BS | ENABLED | 1,
            tf=True,
            GUEST_INTERRUPTIBILITY_STATE=f.BLOCKING_BY_MOV_SS,
        )
        assert (found.rip, found.qualification) == (CODE_VA + 1, BS | 1)
        assert pending.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == 0

    def test_behind_mov_ss_without_single_stepping(self, pending):
        found = self.enter(pending, ENABLED | 1, GUEST_INTERRUPTIBILITY_STATE=f.BLOCKING_BY_MOV_SS)
        assert (found.rip, found.qualification) == (CODE_VA + 1, 1)

    def test_an_exit_before_that_saves_them(self, pending):
        pending.write_fields(
            {
                f.GUEST_PENDING_DBG_EXCEPTIONS: ENABLED | 1,
                f.GUEST_INTERRUPTIBILITY_STATE: f.BLOCKING_BY_MOV_SS,
            }
        )
        assert pending.launch("cpuid").reason == f.EXIT_REASON_CPUID
        assert pending.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == ENABLED | 1
        assert pending.read(f.GUEST_INTERRUPTIBILITY_STATE) == f.BLOCKING_BY_MOV_SS

    def test_an_injected_exception_takes_their_place(self, pending):
        pending.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6})
        found = self.enter(pending, ENABLED | 1)
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, HANDLERS_VA + 16 * 6)

    def test_they_go_through_the_idt_where_nobody_takes_them(self, pending):
        pending.write_fields({f.EXCEPTION_BITMAP: 0})
        found = self.enter(pending, ENABLED | 2)
        assert found.rip == HANDLERS_VA + 16
        assert pending.processor.dr[6] & 0xF == 0xA
