"""Exceptions, interrupts, injected events: exits, delivery, double and triple faults."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.vmx.results import VmFailValid

CODE_VA, DATA_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0001_0000
STACK_VA, HANDLERS_VA = 0xFFFF_F800_0002_0000, 0xFFFF_F800_0006_0000
UNMAPPED_VA, READ_ONLY_VA = 0xFFFF_F800_0007_0000, 0xFFFF_F800_0008_0000
STACK_TOP = STACK_VA + 0x1000 - 0x10
HARDWARE, SOFTWARE_INTERRUPT, PRIVILEGED, SOFTWARE = 3 << 8, 4 << 8, 5 << 8, 6 << 8
VALID, ERROR_CODE = 1 << 31, 1 << 11


def handler(vector):
    return HANDLERS_VA + 16 * vector


def trap(guest, *vectors):
    """Put vectors into the exception bitmap."""
    guest.write_fields({f.EXCEPTION_BITMAP: sum(1 << vector for vector in vectors)})


def pushed(guest, words):
    """The topmost words of the handler's stack, from RSP upwards."""
    rsp = guest.read(f.GUEST_RSP)
    base = guest.ram.u64
    first = 0x20_2000 + rsp - STACK_VA >> 3
    return [base[first + i] for i in range(words)]


class TestExceptionExits:
    def test_ud2_with_its_bit_set(self, guest):
        trap(guest, f.VECTOR_UD)
        found = guest.launch("nop; ud2")
        assert (found.reason, found.qualification) == (f.EXIT_REASON_EXCEPTION_OR_NMI, 0)
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | 6
        assert guest.read(f.GUEST_RIP) == CODE_VA + 1
        assert guest.read(f.IDT_VECTORING_INFO) == 0

    def test_a_page_fault_reports_address_and_error_code_and_leaves_cr2(self, guest):
        trap(guest, f.VECTOR_PF)
        found = guest.launch("mov [rax], ebx", rax=UNMAPPED_VA + 8)
        assert found.qualification == UNMAPPED_VA + 8
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | ERROR_CODE | 14
        assert guest.read(f.VM_EXIT_INTR_ERROR_CODE) == f.PF_WRITE
        assert guest.processor.cr2 == 0

    def test_a_fault_is_saved_with_rf_set(self, guest):
        trap(guest, f.VECTOR_UD)
        guest.launch("ud2")
        assert guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF

    @pytest.mark.parametrize(
        ("mask", "match", "bit", "exits"),
        [
            (f.PF_WRITE, f.PF_WRITE, True, True),
            (f.PF_WRITE, 0, True, False),
            (f.PF_WRITE, 0, False, True),
            (f.PF_WRITE, f.PF_WRITE, False, False),
            (0, 1, False, True),
        ],
    )
    def test_page_faults_are_chosen_by_error_code(self, guest, mask, match, bit, exits):
        fields = {f.PAGE_FAULT_ERROR_CODE_MASK: mask, f.PAGE_FAULT_ERROR_CODE_MATCH: match}
        guest.write_fields(fields | {f.EXCEPTION_BITMAP: bit << 14})
        found = guest.launch("mov [rax], ebx", rax=UNMAPPED_VA)
        assert (found.reason == f.EXIT_REASON_EXCEPTION_OR_NMI) == exits

    def test_int3_is_a_software_exception_with_a_length(self, guest):
        trap(guest, f.VECTOR_BP)
        guest.launch("int3")
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | SOFTWARE | 3
        assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == 1
        assert guest.read(f.GUEST_RIP) == CODE_VA

    def test_int1_is_a_privileged_software_exception(self, guest):
        trap(guest, f.VECTOR_DB)
        guest.launch(b"\xf1")
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | PRIVILEGED | 1

    def test_int_3_of_two_bytes_is_no_exception(self, guest):
        trap(guest, f.VECTOR_BP)
        assert guest.launch(b"\xcd\x03").rip == handler(3)

    def test_a_single_step_reports_bs(self, guest):
        trap(guest, f.VECTOR_DB)
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_TF | 2})
        found = guest.launch("nop; nop")
        assert (found.qualification, found.rip) == (1 << 14, CODE_VA + 1)

    def test_division_by_zero(self, guest):
        trap(guest, f.VECTOR_DE)
        assert guest.launch("div ecx", rcx=0).reason == f.EXIT_REASON_EXCEPTION_OR_NMI
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE


class TestDelivery:
    def test_an_exception_without_its_bit_goes_through_the_guests_idt(self, guest):
        found = guest.launch("nop; ud2")
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, handler(6))

    def test_the_frame_is_the_long_mode_one(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        guest.launch("nop; ud2")
        rflags = f.RFLAGS_IF | 2 | f.RFLAGS_RF
        assert pushed(guest, 5) == [CODE_VA + 1, 0x10, rflags, STACK_TOP, 0x18]
        assert not guest.read(f.GUEST_RFLAGS) & f.RFLAGS_IF

    def test_an_error_code_is_pushed_last(self, guest):
        guest.launch("mov [rax], ebx", rax=READ_ONLY_VA)
        assert pushed(guest, 2) == [f.PF_WRITE | f.PF_PRESENT, CODE_VA]
        assert guest.processor.cr2 == READ_ONLY_VA

    def test_a_trap_gate_leaves_if_alone(self, guest):
        guest.set_gate(6, rights=0x8F)
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        guest.launch("ud2")
        assert guest.read(f.GUEST_RFLAGS) & f.RFLAGS_IF

    def test_an_interrupt_stack_table_entry_switches_stacks(self, guest):
        guest.set_gate(6, ist=1)
        guest.launch("ud2")
        assert guest.read(f.GUEST_RSP) == STACK_VA + 0x800 - 5 * 8

    def test_int_n_returns_behind_itself(self, guest):
        guest.launch("int 0x80")
        assert pushed(guest, 1) == [CODE_VA + 2]

    def test_from_ring_3_the_stack_comes_from_the_tss(self, guest):
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
            f.GUEST_RSP: DATA_VA + 0x800,
        }
        guest.write_fields(ring_3)
        found = guest.launch("hlt")  # privileged
        assert found.rip == handler(13)
        assert pushed(guest, 6) == [0, CODE_VA, 0x33, 2 | f.RFLAGS_RF, DATA_VA + 0x800, 0x2B]
        assert guest.read(f.GUEST_SS_SELECTOR) == 0
        assert guest.read(f.GUEST_CS_SELECTOR) == 0x10

    def test_a_gate_below_the_callers_privilege_is_refused(self, guest):
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
        }
        guest.write_fields(ring_3)
        found = guest.launch("int 0x80")
        assert found.rip == handler(13)
        assert pushed(guest, 1) == [0x80 << 3 | 2]

    def test_iret_returns_to_the_guest(self, guest, at):
        guest.engine.write_code(at["handlers_pa"] + 16 * 0x80, b"\x48\xcf")
        found = guest.launch("int 0x80; nop; hlt")
        assert found.rip == CODE_VA + 3


class TestFaultsDuringDelivery:
    def test_a_missing_gate_is_segment_not_present(self, guest):
        guest.set_gate(6, rights=0x0E)
        found = guest.launch("ud2")
        assert found.rip == handler(11)
        assert pushed(guest, 1) == [6 << 3 | 2 | 1]

    def test_a_fault_that_exits_reports_the_event_it_interrupted(self, guest):
        trap(guest, f.VECTOR_NP)
        guest.set_gate(14, rights=0x0E)
        guest.launch("mov [rax], ebx", rax=UNMAPPED_VA)
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | ERROR_CODE | 11
        assert guest.read(f.VM_EXIT_INTR_ERROR_CODE) == 14 << 3 | 2 | 1
        assert guest.read(f.IDT_VECTORING_INFO) == VALID | HARDWARE | ERROR_CODE | 14
        assert guest.read(f.IDT_VECTORING_ERROR_CODE) == f.PF_WRITE

    def test_an_interrupted_int_n_leaves_its_length(self, guest):
        trap(guest, f.VECTOR_NP)
        guest.set_gate(0x80, rights=0x0E)
        guest.launch("int 0x80")
        assert guest.read(f.IDT_VECTORING_INFO) == VALID | SOFTWARE_INTERRUPT | 0x80
        assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == 2

    def test_two_contributory_faults_are_a_double_fault(self, guest):
        guest.set_gate(13, rights=0x0E)
        found = guest.launch("mov ax, 0x1230; mov ds, ax")
        assert found.rip == handler(8)
        assert pushed(guest, 1) == [0]

    def test_a_double_fault_can_exit_and_was_not_during_delivery(self, guest):
        trap(guest, f.VECTOR_DF)
        guest.set_gate(13, rights=0x0E)
        guest.launch("mov ax, 0x1230; mov ds, ax")
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | ERROR_CODE | 8
        assert guest.read(f.IDT_VECTORING_INFO) == 0

    def test_a_benign_event_and_a_fault_are_handled_one_after_the_other(self, guest):
        guest.set_gate(6, rights=0x0E)
        assert guest.launch("ud2").rip == handler(11)

    def test_an_unusable_idt_ends_in_a_triple_fault(self, guest):
        guest.write_fields({f.GUEST_IDTR_LIMIT: 0})
        found = guest.launch("nop; ud2")
        assert (found.reason, found.qualification) == (f.EXIT_REASON_TRIPLE_FAULT, 0)
        assert guest.read(f.GUEST_RIP) == CODE_VA + 1
        assert guest.read(f.VM_EXIT_INTR_INFO) == 0

    def test_a_stack_that_is_not_there_ends_in_one_too(self, guest):
        guest.write_fields({f.GUEST_RSP: UNMAPPED_VA + 0x800})
        assert guest.launch("ud2").reason == f.EXIT_REASON_TRIPLE_FAULT


class TestInjection:
    @pytest.mark.parametrize("rf", [0, f.RFLAGS_RF])
    def test_the_frame_of_an_injected_fault_has_rf_as_the_entry_loaded_it(self, guest, rf):
        """SDM 3, "Details of Vectored-Event Injection": the type of the event does not matter."""
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6})
        guest.write_fields({f.GUEST_RFLAGS: 2 | rf})
        found = guest.launch("nop")
        assert found.rip == handler(6)
        assert pushed(guest, 3)[2] == 2 | rf

    def test_an_exception_is_delivered_before_the_first_instruction(self, guest):
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6})
        assert guest.launch("nop").rip == handler(6)
        assert pushed(guest, 1) == [CODE_VA]

    def test_the_valid_bit_is_cleared_by_the_next_exit(self, guest):
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6})
        guest.launch("nop")
        assert guest.read(f.VM_ENTRY_INTR_INFO_FIELD) == HARDWARE | 6

    def test_an_error_code_goes_along(self, guest):
        fields = {f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | ERROR_CODE | 13}
        guest.write_fields(fields | {f.VM_ENTRY_EXCEPTION_ERROR_CODE: 0x18})
        guest.launch("nop")
        assert pushed(guest, 2) == [0x18, CODE_VA]

    def test_a_software_interrupt_returns_behind_its_length(self, guest):
        fields = {f.VM_ENTRY_INTR_INFO_FIELD: VALID | SOFTWARE_INTERRUPT | 0x80}
        guest.write_fields(fields | {f.VM_ENTRY_INSTRUCTION_LEN: 2})
        assert guest.launch("nop").rip == handler(0x80)
        assert pushed(guest, 1) == [CODE_VA + 2]

    def test_injection_does_not_ask_the_exception_bitmap(self, guest):
        trap(guest, f.VECTOR_UD)
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6})
        assert guest.launch("nop").rip == handler(6)

    def test_a_fault_of_its_delivery_reports_it_as_the_vectored_event(self, guest):
        trap(guest, f.VECTOR_GP)
        guest.write_fields(
            {f.VM_ENTRY_INTR_INFO_FIELD: VALID | HARDWARE | 6, f.GUEST_IDTR_LIMIT: 0}
        )
        guest.launch("nop")
        assert guest.read(f.IDT_VECTORING_INFO) == VALID | HARDWARE | 6

    def test_a_pending_mtf_exits_at_once(self, guest):
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | 7 << 8})
        found = guest.launch("nop; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_MONITOR_TRAP_FLAG, CODE_VA)

    def test_an_external_interrupt_needs_if(self, guest):
        guest.write_fields({f.VM_ENTRY_INTR_INFO_FIELD: VALID | 0x30})
        exited = guest.unit.vmlaunch()
        assert exited.reason == 0x8000_0021
        assert "external interrupt" in str(exited.violation)


class TestInterrupts:
    def test_the_window_exits_at_once_where_interrupts_are_open(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_INTERRUPT_WINDOW_EXITING)
        found = guest.launch("nop; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_INTERRUPT_WINDOW, CODE_VA)

    def test_it_opens_one_instruction_after_sti(self, guest):
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_INTERRUPT_WINDOW_EXITING)
        found = guest.launch("nop; sti; nop; nop; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_INTERRUPT_WINDOW, CODE_VA + 3)

    def test_an_exit_in_the_shadow_of_sti_says_so(self, guest):
        guest.launch("sti; cpuid")
        assert guest.read(f.GUEST_INTERRUPTIBILITY_STATE) == f.BLOCKING_BY_STI

    def test_an_exit_in_the_shadow_of_mov_ss_says_so(self, guest):
        guest.launch("mov ax, 0x18; mov ss, ax; cpuid")
        assert guest.read(f.GUEST_INTERRUPTIBILITY_STATE) == f.BLOCKING_BY_MOV_SS

    def test_with_its_control_an_external_interrupt_exits_whatever_if_says(self, guest):
        guest.control(f.PIN_BASED_VM_EXEC_CONTROL, f.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)
        guest.processor.apic.request(0xD1)
        found = guest.launch("nop; hlt")
        assert found.reason == f.EXIT_REASON_EXTERNAL_INTERRUPT
        assert guest.read(f.VM_EXIT_INTR_INFO) == 0
        assert guest.processor.apic.is_pending(0xD1)

    def test_with_acknowledgement_the_vector_is_reported_and_taken(self, guest):
        guest.control(f.PIN_BASED_VM_EXEC_CONTROL, f.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)
        guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT)
        guest.processor.apic.request(0xD1)
        guest.launch("nop; hlt")
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | 0xD1
        assert not guest.processor.apic.is_pending(0xD1)

    def test_without_it_the_guest_takes_the_interrupt_when_if_allows(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        guest.processor.apic.request(0xD1)
        assert guest.launch("nop; hlt").rip == handler(0xD1)

    def test_with_if_clear_it_stays_pending(self, guest):
        guest.processor.apic.request(0xD1)
        assert guest.launch("nop; hlt").rip == CODE_VA + 1

    def test_an_interrupt_wakes_a_halted_guest(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: f.RFLAGS_IF | 2})
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_HLT_EXITING, clear=True)
        guest.put("hlt; cpuid")
        guest.engine.write_code(0x20_6000 + 16 * 0xD1, b"\x0f\xa2")
        guest.unit.vmlaunch()
        assert guest.unit.run_guest(100) is None
        guest.processor.apic.request(0xD1)
        assert guest.go().rip == handler(0xD1)
        assert pushed(guest, 1) == [CODE_VA + 1]


def test_a_masked_instruction_is_undefined_and_reported_as_ours(guest):
    guest.launch(bytes.fromhex("c5fc58c0 f4"))  # VADDPS
    assert guest.read(f.GUEST_RIP) == handler(6)
    assert any("ntsim lacks VEX" in str(event) for event in guest.events)


def test_entering_with_a_bad_field_names_it(guest):
    guest.write_fields({f.HOST_TR_SELECTOR: 0})
    result = guest.unit.vmlaunch()
    assert isinstance(result, VmFailValid)
    assert result.error == 8
    assert "HOST_TR_SELECTOR is 0x0" in result.reason
