"""Every basic exit reason that a guest can cause here: one short guest, every information field.

`information` is all of them at once, so that a field that should be 0 and is not fails as well.
Source: SDM 3, "Information for VM Exits Due to ..." and appendix "VMX Basic Exit Reasons".
"""

import pytest

from ntsim.abi import vmx_constants as f

CODE_VA, DATA_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0001_0000
STACK_VA, UNMAPPED_VA = 0xFFFF_F800_0002_0000, 0xFFFF_F800_0007_0000
CODE_PA, DATA_PA = 0x20_0000, 0x20_1000
LOW_VA = 0x40_0000
PRIMARY, SECONDARY = f.CPU_BASED_VM_EXEC_CONTROL, f.SECONDARY_VM_EXEC_CONTROL
VALID, ERROR_CODE, HARDWARE = 1 << 31, 1 << 11, 3 << 8
NO_INDEX, NO_BASE, REGISTER = 1 << 22, 1 << 27, 1 << 10
ADDRESS_32, ADDRESS_64 = 1 << 7, 2 << 7
ES, CS, SS, DS, FS, GS = (n << 15 for n in range(6))

FIELDS = {
    "qualification": f.EXIT_QUALIFICATION,
    "length": f.VM_EXIT_INSTRUCTION_LEN,
    "instruction": f.VM_EXIT_INSTRUCTION_INFO,
    "event": f.VM_EXIT_INTR_INFO,
    "event_code": f.VM_EXIT_INTR_ERROR_CODE,
    "vectoring": f.IDT_VECTORING_INFO,
    "vectoring_code": f.IDT_VECTORING_ERROR_CODE,
    "linear": f.GUEST_LINEAR_ADDRESS,
    "physical": f.GUEST_PHYSICAL_ADDRESS,
}


def information(guest):
    """Everything that the exit has recorded and that is not 0."""
    found = {name: guest.read(field) for name, field in FIELDS.items()}
    return {name: value for name, value in found.items() if value}


def turn_on(guest, primary=0, secondary=0):
    guest.control(PRIMARY, primary | (f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS if secondary else 0))
    if secondary:
        guest.control(SECONDARY, secondary)


def exits(guest, code, reason, primary=0, secondary=0, *, fields=None, **expected):
    """Run `code` behind a NOP; it exits at itself with `reason` and exactly what is expected."""
    turn_on(guest, primary, secondary)
    guest.write_fields(fields or {})
    registers = expected.pop("registers", {})
    raw = guest.put("nop") + guest.put(code, at=1)
    guest.put("hlt", at=len(raw))
    found = guest.launch(**registers)
    assert f.exit_reason_name(found.reason) == f.exit_reason_name(reason)
    assert guest.read(f.VM_EXIT_REASON) == reason
    assert guest.read(f.GUEST_RIP) == found.rip == CODE_VA + 1
    assert information(guest) == {"length": len(raw) - 1, **expected}
    assert not guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF
    assert guest.read(f.GUEST_ACTIVITY_STATE) == 0
    return found


R = "EXIT_REASON_"
PLAIN = [
    ("cpuid", "CPUID", 0, 0),
    ("invd", "INVD", 0, 0),
    ("vmcall", "VMCALL", 0, 0),
    ("vmlaunch", "VMLAUNCH", 0, 0),
    ("vmresume", "VMRESUME", 0, 0),
    ("vmxoff", "VMXOFF", 0, 0),
    ("hlt", "HLT", f.CPU_BASED_HLT_EXITING, 0),
    ("rdpmc", "RDPMC", f.CPU_BASED_RDPMC_EXITING, 0),
    ("rdtsc", "RDTSC", f.CPU_BASED_RDTSC_EXITING, 0),
    ("rdtscp", "RDTSCP", f.CPU_BASED_RDTSC_EXITING, f.SECONDARY_ENABLE_RDTSCP),
    ("monitor", "MONITOR", f.CPU_BASED_MONITOR_EXITING, 0),
    ("mwait", "MWAIT", f.CPU_BASED_MWAIT_EXITING, 0),
    ("pause", "PAUSE", f.CPU_BASED_PAUSE_EXITING, 0),
    ("wbinvd", "WBINVD_WBNOINVD", 0, f.SECONDARY_WBINVD_EXITING),
    ("rdmsr", "RDMSR", 0, 0),
    ("wrmsr", "WRMSR", 0, 0),
]


@pytest.mark.parametrize(("code", "reason", "primary", "secondary"), PLAIN)
def test_instructions_that_report_their_length_alone(guest, code, reason, primary, secondary):
    exits(guest, code, getattr(f, R + reason), primary, secondary)


@pytest.mark.parametrize("prefix", ["f3", "66", "48", "36"])
def test_prefixes_count_in_the_length(guest, prefix):
    code = bytes.fromhex(prefix + "0fa2")
    exits(guest, code, f.EXIT_REASON_CPUID)
    assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == 3


def test_xsetbv_exits_where_os_support_is_on(guest):
    cr4 = guest.read(f.GUEST_CR4) | f.CR4_OSXSAVE
    exits(guest, "xsetbv", f.EXIT_REASON_XSETBV, fields={f.GUEST_CR4: cr4})


VMX_OPERANDS = [
    ("vmclear [rax]", "VMCLEAR", 0, ADDRESS_64 | NO_INDEX | DS),
    ("vmptrld [rbp-8]", "VMPTRLD", -8, ADDRESS_64 | NO_INDEX | SS | 5 << 23),
    ("vmptrst [rsp+rdx*8+0x1000]", "VMPTRST", 0x1000, ADDRESS_64 | 3 | SS | 2 << 18 | 4 << 23),
    ("vmxon gs:[r9+r10*2]", "VMXON", 0, ADDRESS_64 | 1 | GS | 10 << 18 | 9 << 23),
    ("vmread [rcx], rdx", "VMREAD", 0, ADDRESS_64 | NO_INDEX | DS | 1 << 23 | 2 << 28),
    ("vmread r11, r12", "VMREAD", 0, REGISTER | 11 << 3 | 12 << 28),
    ("vmwrite r13, r14", "VMWRITE", 0, REGISTER | 14 << 3 | 13 << 28),
    (
        "vmwrite rsi, [rbx+rcx*4]",
        "VMWRITE",
        0,
        ADDRESS_64 | 2 | DS | 1 << 18 | 3 << 23 | 6 << 28,
    ),
    ("invept rdi, [rax]", "INVEPT", 0, ADDRESS_64 | NO_INDEX | DS | 7 << 28),
    ("invvpid r8, [edx+4]", "INVVPID", 4, ADDRESS_32 | NO_INDEX | DS | 2 << 23 | 8 << 28),
]


@pytest.mark.parametrize(("code", "reason", "displacement", "instruction"), VMX_OPERANDS)
def test_vmx_instructions_describe_their_operands(guest, code, reason, displacement, instruction):
    expected = {"instruction": instruction}
    if displacement:
        expected["qualification"] = displacement & 0xFFFF_FFFF_FFFF_FFFF
    exits(guest, code, getattr(f, R + reason), **expected)


TABLES = [
    ("sgdt [rax]", 46, 0 << 28 | ADDRESS_64 | NO_INDEX | DS),
    ("sidt [rsp+16]", 46, 1 << 28 | ADDRESS_64 | NO_INDEX | SS | 4 << 23),
    ("lgdt [rbx+rcx]", 46, 2 << 28 | ADDRESS_64 | DS | 1 << 18 | 3 << 23),
    ("lidt [r12]", 46, 3 << 28 | ADDRESS_64 | NO_INDEX | DS | 12 << 23),
    ("sldt r9d", 47, 0 << 28 | REGISTER | 9 << 3),
    ("str [rax]", 47, 1 << 28 | ADDRESS_64 | NO_INDEX | DS),
    ("lldt cx", 47, 2 << 28 | REGISTER | 1 << 3),
    ("ltr [rdi]", 47, 3 << 28 | ADDRESS_64 | NO_INDEX | DS | 7 << 23),
]
OPERAND_SIZE = 1 << 11
"""Undefined for an exit from 64-bit mode."""


@pytest.mark.parametrize(("code", "reason", "instruction"), TABLES)
def test_descriptor_table_instructions_describe_their_operands(guest, code, reason, instruction):
    turn_on(guest, 0, f.SECONDARY_DESCRIPTOR_TABLE_EXITING)
    raw = guest.put(code)
    found = guest.launch(rax=DATA_VA, rbx=DATA_VA, rdi=DATA_VA, r12=DATA_VA)
    assert (found.reason, found.rip) == (reason, CODE_VA)
    seen = information(guest)
    displacement = 16 if "16" in code else 0
    assert seen.pop("qualification", 0) == displacement
    assert seen.pop("instruction") & ~OPERAND_SIZE == instruction
    assert seen == {"length": len(raw)}


class TestMovDr:
    @pytest.mark.parametrize(
        ("code", "qualification"),
        [
            ("mov dr0, rax", 0),
            ("mov dr3, r15", 3 | 15 << 8),
            ("mov rbx, dr6", 6 | 1 << 4 | 3 << 8),
            ("mov r8, dr7", 7 | 1 << 4 | 8 << 8),
        ],
    )
    def test_number_direction_and_register(self, guest, code, qualification):
        expected = {"qualification": qualification} if qualification else {}
        exits(guest, code, f.EXIT_REASON_MOV_DR, f.CPU_BASED_MOV_DR_EXITING, **expected)

    def test_the_exit_comes_before_the_undefined_dr4_of_cr4_de(self, guest):
        """SDM 3, "Instructions That Cause VM Exits Conditionally": MOV DR."""
        exits(
            guest,
            bytes.fromhex("0f21e0"),  # MOV RAX, DR4
            f.EXIT_REASON_MOV_DR,
            f.CPU_BASED_MOV_DR_EXITING,
            qualification=4 | 1 << 4,
        )

    def test_it_comes_before_the_fault_of_ring_3(self, guest):
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
        }
        exits(
            guest,
            "mov rax, dr7",
            f.EXIT_REASON_MOV_DR,
            f.CPU_BASED_MOV_DR_EXITING,
            fields=ring_3,
            qualification=7 | 1 << 4,
        )

    def test_dr8_to_dr15_are_undefined_before_that(self, guest):
        """An invalid opcode comes before a VM exit, DR4 and DR5 being the exception."""
        turn_on(guest, f.CPU_BASED_MOV_DR_EXITING)
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_UD})
        found = guest.launch(bytes.fromhex("440f21c0 f4"))  # MOV RAX, DR8
        assert found.reason == f.EXIT_REASON_EXCEPTION_OR_NMI
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | f.VECTOR_UD

    def test_general_detect_faults_and_reports_bd(self, guest):
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS)
        guest.write_fields({f.GUEST_DR7: 0x2400, f.EXCEPTION_BITMAP: 1 << f.VECTOR_DB})
        found = guest.launch("nop; mov rax, dr0; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA + 1)
        assert information(guest) == {"qualification": 1 << 13, "event": VALID | HARDWARE | 1}

    def test_the_handler_of_general_detect_may_use_the_registers(self, guest):
        """Delivery of #DB clears DR7.GD (SDM 3, "Debug Control Register (DR7)")."""
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS)
        guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_DEBUG_CONTROLS)
        guest.write_fields({f.GUEST_DR7: 0x2400})
        assert guest.launch("mov rax, dr0; hlt").reason == f.EXIT_REASON_HLT
        assert guest.read(f.GUEST_DR7) == 0x400
        assert guest.processor.dr[6] & 1 << 13


class TestControlRegisterAccess:
    @pytest.mark.parametrize(
        ("code", "control", "qualification"),
        [
            ("mov cr3, r11", f.CPU_BASED_CR3_LOAD_EXITING, 3 | 11 << 8),
            ("mov rcx, cr3", f.CPU_BASED_CR3_STORE_EXITING, 3 | 1 << 4 | 1 << 8),
            ("mov cr8, rdi", f.CPU_BASED_CR8_LOAD_EXITING, 8 | 7 << 8),
            ("mov r10, cr8", f.CPU_BASED_CR8_STORE_EXITING, 8 | 1 << 4 | 10 << 8),
        ],
    )
    def test_moves(self, guest, code, control, qualification):
        exits(guest, code, f.EXIT_REASON_CR_ACCESS, control, qualification=qualification)

    def test_clts(self, guest):
        exits(
            guest,
            "clts",
            f.EXIT_REASON_CR_ACCESS,
            fields={f.CR0_GUEST_HOST_MASK: f.CR0_TS, f.CR0_READ_SHADOW: f.CR0_TS},
            qualification=2 << 4,
        )

    def test_lmsw_of_a_register(self, guest):
        exits(
            guest,
            "lmsw r9w",
            f.EXIT_REASON_CR_ACCESS,
            fields={f.CR0_GUEST_HOST_MASK: f.CR0_EM, f.CR0_READ_SHADOW: 0},
            registers={"r9": 0x1_ABCD},
            qualification=3 << 4 | 0xABCD << 16,
        )

    def test_lmsw_of_memory_has_a_linear_address(self, guest):
        guest.ram.write(DATA_PA + 6, b"\x0e\x00")
        exits(
            guest,
            "lmsw word ptr [rbx+6]",
            f.EXIT_REASON_CR_ACCESS,
            fields={f.CR0_GUEST_HOST_MASK: f.CR0_EM, f.CR0_READ_SHADOW: 0},
            registers={"rbx": DATA_VA},
            qualification=3 << 4 | 1 << 6 | 0xE << 16,
            linear=DATA_VA + 6,
        )

    def test_lmsw_never_exits_for_a_cleared_pe(self, guest):
        """It cannot clear PE, so only setting it may differ from the shadow."""
        guest.write_fields({f.CR0_GUEST_HOST_MASK: f.CR0_PE, f.CR0_READ_SHADOW: f.CR0_PE})
        found = guest.launch("lmsw ax; hlt", rax=0)
        assert found.reason == f.EXIT_REASON_HLT

    def test_invlpg(self, guest):
        exits(
            guest,
            "invlpg [rax+rbx*4-0x10]",
            f.EXIT_REASON_INVLPG,
            f.CPU_BASED_INVLPG_EXITING,
            registers={"rax": 0x1234_5678_9000, "rbx": 0x10},
            qualification=0x1234_5678_9030,
        )


class TestIo:
    @pytest.mark.parametrize(
        ("code", "qualification"),
        [
            ("in ax, dx", 0x71 << 16 | 1 | 8),
            ("out 0x20, eax", 0x20 << 16 | 3 | 1 << 6),
            ("in al, 0x21", 0x21 << 16 | 8 | 1 << 6),
        ],
    )
    def test_plain(self, guest, code, qualification):
        exits(
            guest,
            code,
            f.EXIT_REASON_IO_INSTRUCTION,
            f.CPU_BASED_UNCONDITIONAL_IO_EXITING,
            registers={"rdx": 0x71},
            qualification=qualification,
        )

    @pytest.mark.parametrize(
        ("code", "qualification", "instruction", "linear"),
        [
            ("rep outsd", 3 | 1 << 4 | 1 << 5, ADDRESS_64 | DS, DATA_VA),
            ("insw", 1 | 8 | 1 << 4, ADDRESS_64, STACK_VA),
            ("6765 6e", 1 << 4, ADDRESS_32 | GS, 0xFFFF_0000 + (DATA_VA & 0xFFFF_FFFF)),
        ],
    )
    def test_strings(self, guest, code, qualification, instruction, linear):
        raw = bytes.fromhex(code) if code[0].isdigit() else code
        exits(
            guest,
            raw,
            f.EXIT_REASON_IO_INSTRUCTION,
            f.CPU_BASED_UNCONDITIONAL_IO_EXITING,
            fields={f.GUEST_GS_BASE: 0xFFFF_0000},
            registers={"rdx": 0x71, "rsi": DATA_VA, "rdi": STACK_VA, "rcx": 2},
            qualification=0x71 << 16 | qualification,
            instruction=instruction,
            linear=linear,
        )


class TestEvents:
    def test_an_exception(self, guest):
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP})
        found = guest.launch("nop; mov ds, ax; hlt", rax=0x1234)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA + 1)
        event = VALID | ERROR_CODE | HARDWARE | f.VECTOR_GP
        assert information(guest) == {"event": event, "event_code": 0x1234}
        assert guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF

    def test_a_page_fault(self, guest):
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_PF})
        found = guest.launch("nop; mov byte ptr [rax+1], 5; hlt", rax=UNMAPPED_VA)
        event = VALID | ERROR_CODE | HARDWARE | f.VECTOR_PF
        expected = {"qualification": UNMAPPED_VA + 1, "event": event, "event_code": f.PF_WRITE}
        assert (found.rip, information(guest)) == (CODE_VA + 1, expected)

    def test_an_external_interrupt_acknowledged(self, guest):
        guest.control(f.PIN_BASED_VM_EXEC_CONTROL, f.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)
        guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT)
        guest.processor.apic.request(0x51)
        assert guest.launch("nop").reason == f.EXIT_REASON_EXTERNAL_INTERRUPT
        assert information(guest) == {"event": VALID | 0x51}

    def test_it_leaves_the_activity_state_that_it_found(self, guest):
        """SDM 3, "Architectural State Before a VM Exit": active only after the exit completes."""
        guest.control(f.PIN_BASED_VM_EXEC_CONTROL, f.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)
        guest.write_fields({f.GUEST_ACTIVITY_STATE: f.ACTIVITY_STATE_HLT})
        guest.processor.apic.request(0x51)
        assert guest.launch("nop").reason == f.EXIT_REASON_EXTERNAL_INTERRUPT
        assert guest.read(f.GUEST_ACTIVITY_STATE) == f.ACTIVITY_STATE_HLT
        assert information(guest) == {}

    def test_an_interrupt_window_opens_in_a_halted_guest(self, guest):
        turn_on(guest, f.CPU_BASED_INTERRUPT_WINDOW_EXITING)
        guest.write_fields(
            {f.GUEST_ACTIVITY_STATE: f.ACTIVITY_STATE_HLT, f.GUEST_RFLAGS: f.RFLAGS_IF | 2}
        )
        found = guest.launch("nop")
        assert (found.reason, found.rip) == (f.EXIT_REASON_INTERRUPT_WINDOW, CODE_VA)
        assert guest.read(f.GUEST_ACTIVITY_STATE) == f.ACTIVITY_STATE_HLT
        assert information(guest) == {}

    def test_a_triple_fault(self, guest):
        guest.write_fields({f.GUEST_IDTR_LIMIT: 0})
        assert guest.launch("nop; ud2").reason == f.EXIT_REASON_TRIPLE_FAULT
        assert information(guest) == {}

    def test_a_monitor_trap(self, guest):
        turn_on(guest, f.CPU_BASED_MONITOR_TRAP_FLAG)
        found = guest.launch("nop; nop")
        assert (found.reason, found.rip) == (f.EXIT_REASON_MONITOR_TRAP_FLAG, CODE_VA + 1)
        assert information(guest) == {}

    def test_the_monitor_trap_follows_each_iteration_of_a_repeated_instruction(self, guest):
        turn_on(guest, f.CPU_BASED_MONITOR_TRAP_FLAG)
        found = guest.launch("rep stosb", rcx=3, rdi=DATA_VA)
        assert (found.rip, guest.gpr("rcx")) == (CODE_VA, 2)

    def test_the_monitor_trap_follows_the_delivery_of_a_fault(self, guest):
        turn_on(guest, f.CPU_BASED_MONITOR_TRAP_FLAG)
        found = guest.launch("ud2")
        assert found.reason == f.EXIT_REASON_MONITOR_TRAP_FLAG
        assert found.rip == 0xFFFF_F800_0006_0000 + 6 * 16


class TestEpt:
    def test_a_violation(self, guest):
        guest.enable_ept()
        guest.set_ept(DATA_PA, 0)
        found = guest.launch("nop; mov [rax+8], rbx; hlt", rax=DATA_VA)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EPT_VIOLATION, CODE_VA + 1)
        expected = {"qualification": 0x182, "linear": DATA_VA + 8, "physical": DATA_PA + 8}
        assert information(guest) == expected
        assert guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF

    def test_a_misconfiguration_is_saved_with_rf_set_too(self, guest):
        """SDM 3, "Saving RIP, RSP, RFLAGS, and SSP": EPT misconfigurations as EPT violations."""
        guest.enable_ept()
        guest.set_ept(DATA_PA, DATA_PA | 2)
        found = guest.launch("nop; mov rbx, [rax+8]; hlt", rax=DATA_VA)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EPT_MISCONFIGURATION, CODE_VA + 1)
        assert information(guest) == {"physical": DATA_PA + 8}
        assert guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF

    @pytest.mark.parametrize(("code", "vectoring", "rf"), [("ud2", HARDWARE | 6, True)])
    def test_during_delivery_rf_is_as_the_frame_would_have_it(self, guest, code, vectoring, rf):
        guest.enable_ept()
        guest.set_ept(0x20_2000, 0x20_2000 | 0x35)  # the stack, read and execute
        found = guest.launch("nop; " + code)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        seen = information(guest)
        assert seen["vectoring"] == VALID | vectoring
        assert bool(guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF) == rf

    def test_during_delivery_of_int_n_rf_is_clear_and_its_length_is_there(self, guest):
        guest.enable_ept()
        guest.set_ept(0x20_2000, 0x20_2000 | 0x35)
        guest.launch("nop; int 0x80")
        seen = information(guest)
        assert (seen["vectoring"], seen["length"]) == (VALID | 4 << 8 | 0x80, 2)
        assert not guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF


class TestFaultsThatComeFirst:
    """SDM 3, "Relative Priority of Faults and VM Exits": privilege before the exit."""

    RING_3 = {
        f.GUEST_CS_SELECTOR: 0x33,
        f.GUEST_CS_AR_BYTES: 0xA0FB,
        f.GUEST_SS_SELECTOR: 0x2B,
        f.GUEST_SS_AR_BYTES: 0xC0F3,
        f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP | 1 << f.VECTOR_UD,
    }

    @pytest.mark.parametrize(
        ("code", "primary", "secondary", "vector"),
        [
            ("hlt", f.CPU_BASED_HLT_EXITING, 0, f.VECTOR_GP),
            ("invlpg [rax]", f.CPU_BASED_INVLPG_EXITING, 0, f.VECTOR_GP),
            ("invd", 0, 0, f.VECTOR_GP),
            ("wbinvd", 0, f.SECONDARY_WBINVD_EXITING, f.VECTOR_GP),
            ("rdmsr", 0, 0, f.VECTOR_GP),
            ("wrmsr", 0, 0, f.VECTOR_GP),
            ("mov cr3, rax", f.CPU_BASED_CR3_LOAD_EXITING, 0, f.VECTOR_GP),
            ("mov rax, cr8", f.CPU_BASED_CR8_STORE_EXITING, 0, f.VECTOR_GP),
            ("clts", 0, 0, f.VECTOR_GP),
            ("lmsw ax", 0, 0, f.VECTOR_GP),
            ("lgdt [rax]", 0, f.SECONDARY_DESCRIPTOR_TABLE_EXITING, f.VECTOR_GP),
            ("ltr ax", 0, f.SECONDARY_DESCRIPTOR_TABLE_EXITING, f.VECTOR_GP),
            ("rdpmc", f.CPU_BASED_RDPMC_EXITING, 0, f.VECTOR_GP),
            ("monitor", f.CPU_BASED_MONITOR_EXITING, 0, f.VECTOR_UD),
            ("mwait", f.CPU_BASED_MWAIT_EXITING, 0, f.VECTOR_UD),
            ("in al, dx", f.CPU_BASED_UNCONDITIONAL_IO_EXITING, 0, f.VECTOR_GP),
            ("insb", f.CPU_BASED_UNCONDITIONAL_IO_EXITING, 0, f.VECTOR_GP),
        ],
    )
    def test_ring_3(self, guest, code, primary, secondary, vector):
        turn_on(guest, primary, secondary)
        guest.write_fields(self.RING_3)
        guest.ram.write(0x20_5066, b"\x68\x00")  # the TSS ends where its I/O map would begin
        found = guest.launch(code, rax=DATA_VA)
        assert f.exit_reason_name(found.reason) == "EXIT_REASON_EXCEPTION_OR_NMI"
        assert guest.read(f.VM_EXIT_INTR_INFO) & 0xFF == vector

    @pytest.mark.parametrize(
        ("code", "primary", "secondary", "reason"),
        [
            ("cpuid", 0, 0, "CPUID"),
            ("vmcall", 0, 0, "VMCALL"),
            ("vmxoff", 0, 0, "VMXOFF"),
            ("vmread rax, rbx", 0, 0, "VMREAD"),
            ("pause", f.CPU_BASED_PAUSE_EXITING, 0, "PAUSE"),
            ("rdtsc", f.CPU_BASED_RDTSC_EXITING, 0, "RDTSC"),
            ("sgdt [rax]", 0, f.SECONDARY_DESCRIPTOR_TABLE_EXITING, "GDTR_IDTR_ACCESS"),
            ("str ax", 0, f.SECONDARY_DESCRIPTOR_TABLE_EXITING, "LDTR_TR_ACCESS"),
        ],
    )
    def test_what_ring_3_may_execute_exits_from_there(
        self, guest, code, primary, secondary, reason
    ):
        turn_on(guest, primary, secondary)
        guest.write_fields(self.RING_3)
        found = guest.launch(code, rax=DATA_VA)
        assert f.exit_reason_name(found.reason) == R + reason

    @pytest.mark.parametrize(
        ("code", "cr4", "primary"),
        [
            ("rdtsc", f.CR4_TSD, f.CPU_BASED_RDTSC_EXITING),
            ("rdtscp", f.CR4_TSD, f.CPU_BASED_RDTSC_EXITING),
        ],
    )
    def test_cr4_tsd(self, guest, code, cr4, primary):
        turn_on(guest, primary, f.SECONDARY_ENABLE_RDTSCP)
        guest.write_fields(self.RING_3 | {f.GUEST_CR4: guest.read(f.GUEST_CR4) | cr4})
        guest.launch(code)
        assert guest.read(f.VM_EXIT_INTR_INFO) & 0xFF == f.VECTOR_GP


class Test32BitCode:
    """Compatibility mode, at an address below 4 GBytes."""

    @pytest.fixture
    def code_32(self, guest):
        guest.tables.write(guest.root, LOW_VA, CODE_PA | 7)
        for level in (4, 3, 2):
            at = guest.tables.entry_address(guest.root, LOW_VA, level)
            guest.ram.u64[at >> 3] |= 4
        guest.write_fields({f.GUEST_RIP: LOW_VA, f.GUEST_CS_AR_BYTES: 0xC09B})
        return guest

    @pytest.mark.parametrize(
        ("raw", "reason", "expected"),
        [
            ("0fa2", "CPUID", {}),
            ("0f01c1", "VMCALL", {}),
            ("0f22db", "CR_ACCESS", {"qualification": 3 | 3 << 8}),
            ("0f21f9", "MOV_DR", {"qualification": 7 | 1 << 4 | 1 << 8}),
            ("66ef", "IO_INSTRUCTION", {"qualification": 0x71 << 16 | 1}),
            (
                "0f014010",  # SGDT [EAX+10H]
                "GDTR_IDTR_ACCESS",
                {"qualification": 0x10, "instruction": ADDRESS_32 | NO_INDEX | DS | 1 << 11},
            ),
            (
                "660f0118",  # LIDT [EAX] with 16-bit operands
                "GDTR_IDTR_ACCESS",
                {"instruction": 3 << 28 | ADDRESS_32 | NO_INDEX | DS},
            ),
            (
                "670f0107",  # SGDT [BX]
                "GDTR_IDTR_ACCESS",
                {"instruction": NO_INDEX | DS | 3 << 23 | 1 << 11},
            ),
        ],
    )
    def test_exits(self, code_32, raw, reason, expected):
        guest = code_32
        turn_on(
            guest,
            f.CPU_BASED_CR3_LOAD_EXITING
            | f.CPU_BASED_MOV_DR_EXITING
            | f.CPU_BASED_UNCONDITIONAL_IO_EXITING,
            f.SECONDARY_DESCRIPTOR_TABLE_EXITING,
        )
        code = bytes.fromhex(raw)
        found = guest.launch(b"\x90" + code, rdx=0x71, rax=0x1000)
        assert f.exit_reason_name(found.reason) == R + reason
        assert found.rip == LOW_VA + 1
        assert information(guest) == {"length": len(code), **expected}

    @pytest.mark.parametrize(
        "raw", ["0f01c2", "0f01c3", "0f01c4", "0fc730", "660fc730", "f30fc730", "0fc738", "0f78c3"]
    )
    def test_vmx_instructions_but_vmcall_are_undefined(self, code_32, raw):
        code_32.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_UD})
        found = code_32.launch(bytes.fromhex(raw), rax=0x1000)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, LOW_VA)
        assert information(code_32) == {"event": VALID | HARDWARE | f.VECTOR_UD}
