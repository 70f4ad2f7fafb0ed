"""VM exits by instruction: one small guest for each reason, with every information field it has."""

import pytest

from ntsim.abi import vmx_constants as f

PRIMARY, SECONDARY = f.CPU_BASED_VM_EXEC_CONTROL, f.SECONDARY_VM_EXEC_CONTROL
CODE_VA, DATA_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0001_0000


def exit_of(guest, code, control=0, secondary=0, **gpr):
    """Turn the controls on, run `code` with a NOP before it, and check RIP and the length."""
    if control or secondary:
        activate = f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS if secondary else 0
        guest.control(PRIMARY, control | activate)
    if secondary:
        guest.control(SECONDARY, secondary)
    raw = guest.put("nop; " + code + "; hlt")
    found = guest.launch(**gpr)
    assert found.rip == CODE_VA + 1
    assert guest.read(f.VM_EXIT_REASON) == found.reason
    assert guest.read(f.EXIT_QUALIFICATION) == found.qualification
    assert guest.read(f.GUEST_RIP) == CODE_VA + 1
    assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == len(raw) - 2
    assert guest.read(f.VM_EXIT_INTR_INFO) == 0
    assert guest.read(f.IDT_VECTORING_INFO) == 0
    return found


def runs_to_hlt(guest, code, control=0, secondary=0, **gpr):
    """The same code without an exit of its own."""
    if secondary:
        guest.control(PRIMARY, f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
        guest.control(SECONDARY, secondary)
    if control:
        guest.control(PRIMARY, control)
    found = guest.launch(code + "; hlt", **gpr)
    assert found.reason == f.EXIT_REASON_HLT, found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("cpuid", f.EXIT_REASON_CPUID),
        ("invd", f.EXIT_REASON_INVD),
        ("vmcall", f.EXIT_REASON_VMCALL),
        ("vmlaunch", f.EXIT_REASON_VMLAUNCH),
        ("vmresume", f.EXIT_REASON_VMRESUME),
        ("vmxoff", f.EXIT_REASON_VMXOFF),
    ],
)
def test_instructions_that_always_exit(guest, code, reason):
    found = exit_of(guest, code)
    assert (found.reason, found.qualification) == (reason, 0)


@pytest.mark.parametrize(
    ("code", "control", "reason"),
    [
        ("hlt", f.CPU_BASED_HLT_EXITING, f.EXIT_REASON_HLT),
        ("rdtsc", f.CPU_BASED_RDTSC_EXITING, f.EXIT_REASON_RDTSC),
        ("rdpmc", f.CPU_BASED_RDPMC_EXITING, f.EXIT_REASON_RDPMC),
        ("pause", f.CPU_BASED_PAUSE_EXITING, f.EXIT_REASON_PAUSE),
        ("monitor", f.CPU_BASED_MONITOR_EXITING, f.EXIT_REASON_MONITOR),
        ("mwait", f.CPU_BASED_MWAIT_EXITING, f.EXIT_REASON_MWAIT),
    ],
)
def test_instructions_that_exit_with_their_primary_control(guest, code, control, reason):
    assert exit_of(guest, code, control).reason == reason


def test_wbinvd_exits_with_its_secondary_control(guest):
    found = exit_of(guest, "wbinvd", secondary=f.SECONDARY_WBINVD_EXITING)
    assert found.reason == f.EXIT_REASON_WBINVD_WBNOINVD


@pytest.mark.parametrize("code", ["rdtsc", "pause", "wbinvd", "mwait"])
def test_without_their_control_they_execute(guest, code):
    runs_to_hlt(guest, code)


class TestRdtsc:
    def test_the_guest_sees_the_offset_added(self, guest):
        guest.control(PRIMARY, f.CPU_BASED_USE_TSC_OFFSETTING)
        guest.write_fields({f.TSC_OFFSET: 0x1_0000_0007})
        guest.launch("rdtsc; hlt")
        assert (guest.gpr("rdx"), guest.gpr("rax")) == (1, guest.processor.clock.tsc + 7)

    def test_rdtscp_is_undefined_unless_enabled(self, guest):
        assert guest.launch("rdtscp; hlt").rip == 0xFFFF_F800_0006_0000 + 6 * 16

    def test_rdtscp_has_a_reason_of_its_own(self, guest):
        found = exit_of(
            guest, "rdtscp", f.CPU_BASED_RDTSC_EXITING, secondary=f.SECONDARY_ENABLE_RDTSCP
        )
        assert found.reason == f.EXIT_REASON_RDTSCP

    def test_rdtscp_reads_tsc_aux(self, guest):
        guest.processor.write_msr(f.IA32_TSC_AUX, 5)
        runs_to_hlt(guest, "rdtscp", secondary=f.SECONDARY_ENABLE_RDTSCP)
        assert guest.gpr("rcx") == 5


def test_invlpg_reports_the_linear_address(guest):
    found = exit_of(
        guest, "invlpg [rax+rbx*2+0x10]", f.CPU_BASED_INVLPG_EXITING, rax=0x7000, rbx=0x100
    )
    assert (found.reason, found.qualification) == (f.EXIT_REASON_INVLPG, 0x7210)


class TestIo:
    @pytest.mark.parametrize(
        ("code", "qualification"),
        [
            ("out dx, al", 0x3F8 << 16),
            ("out dx, ax", 0x3F8 << 16 | 1),
            ("out dx, eax", 0x3F8 << 16 | 3),
            ("in al, dx", 0x3F8 << 16 | 8),
            ("in eax, dx", 0x3F8 << 16 | 3 | 8),
            ("out 0x80, al", 0x80 << 16 | 1 << 6),
            ("in al, 0x60", 0x60 << 16 | 8 | 1 << 6),
            ("outsb", 0x3F8 << 16 | 1 << 4),
            ("rep outsw", 0x3F8 << 16 | 1 | 1 << 4 | 1 << 5),
            ("insb", 0x3F8 << 16 | 8 | 1 << 4),
        ],
    )
    def test_the_qualification_says_what_kind_of_access_it_is(self, guest, code, qualification):
        found = exit_of(guest, code, f.CPU_BASED_UNCONDITIONAL_IO_EXITING, rdx=0x3F8, rcx=2)
        assert (found.reason, found.qualification) == (
            f.EXIT_REASON_IO_INSTRUCTION,
            qualification,
        )

    def test_a_string_instruction_reports_its_linear_address_and_segment(self, guest):
        exit_of(guest, "outsb", f.CPU_BASED_UNCONDITIONAL_IO_EXITING, rdx=1, rsi=DATA_VA)
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == DATA_VA
        information = guest.read(f.VM_EXIT_INSTRUCTION_INFO)
        assert (information >> 7 & 7, information >> 15 & 7) == (2, 3)  # 64-bit address, DS

    @pytest.mark.parametrize(("port", "exits"), [(0x3F8, True), (0x3F9, False), (0x8000, True)])
    def test_bitmaps_decide_port_by_port_and_before_unconditional_exiting(self, guest, port, exits):
        a, b = guest.page(0), guest.page(0)
        guest.ram.write(a + (0x3F8 >> 3), b"\x01")
        guest.ram.write(b, b"\x01")
        guest.write_fields({f.IO_BITMAP_A: a, f.IO_BITMAP_B: b})
        both = f.CPU_BASED_USE_IO_BITMAPS | f.CPU_BASED_UNCONDITIONAL_IO_EXITING
        guest.control(PRIMARY, both)
        found = guest.launch("out dx, al; hlt", rdx=port)
        assert found.reason == (f.EXIT_REASON_IO_INSTRUCTION if exits else f.EXIT_REASON_HLT)

    def test_a_wide_access_exits_if_any_of_its_ports_does(self, guest):
        a, b = guest.page(0), guest.page(0)
        guest.ram.write(a + (0x3F8 >> 3), b"\x08")  # port 3FBH
        guest.write_fields({f.IO_BITMAP_A: a, f.IO_BITMAP_B: b})
        guest.control(PRIMARY, f.CPU_BASED_USE_IO_BITMAPS)
        assert guest.launch("out dx, eax; hlt", rdx=0x3F8).reason == f.EXIT_REASON_IO_INSTRUCTION

    def test_an_access_past_the_last_port_exits_with_bitmaps(self, guest):
        guest.write_fields({f.IO_BITMAP_A: guest.page(0), f.IO_BITMAP_B: guest.page(0)})
        guest.control(PRIMARY, f.CPU_BASED_USE_IO_BITMAPS)
        found = guest.launch("out dx, ax; hlt", rdx=0xFFFF)
        assert found.reason == f.EXIT_REASON_IO_INSTRUCTION

    def test_in_without_exiting_reads_the_bus_and_keeps_the_upper_bits(self, guest):
        runs_to_hlt(guest, "in al, dx", rdx=0x99, rax=0x1122_3344_5566_7788)
        assert guest.gpr("rax") == 0x1122_3344_5566_77FF

    def test_a_repeated_ins_fills_memory(self, guest):
        runs_to_hlt(guest, "rep insb", rdx=0x99, rcx=3, rdi=DATA_VA)
        assert (guest.gpr("rcx"), guest.gpr("rdi")) == (0, DATA_VA + 3)


class TestMsrs:
    @pytest.mark.parametrize(
        ("code", "reason"), [("rdmsr", f.EXIT_REASON_RDMSR), ("wrmsr", f.EXIT_REASON_WRMSR)]
    )
    def test_without_bitmaps_every_access_exits(self, guest, code, reason):
        found = exit_of(guest, code, rcx=f.IA32_EFER)
        assert (found.reason, found.qualification) == (reason, 0)

    @pytest.mark.parametrize(
        ("code", "index", "offset"),
        [
            ("rdmsr", f.IA32_SYSENTER_CS, 0x000),
            ("rdmsr", f.IA32_LSTAR, 0x400),
            ("wrmsr", f.IA32_SYSENTER_CS, 0x800),
            ("wrmsr", f.IA32_LSTAR, 0xC00),
        ],
    )
    def test_a_bit_of_the_bitmap_selects_one_msr_and_direction(self, guest, code, index, offset):
        bitmap = guest.page(0)
        low = index & 0x1FFF
        guest.ram.write(bitmap + offset + (low >> 3), bytes([1 << (low & 7)]))
        guest.write_fields({f.MSR_BITMAP: bitmap})
        guest.control(PRIMARY, f.CPU_BASED_USE_MSR_BITMAPS)
        other = "wrmsr" if code == "rdmsr" else "rdmsr"
        found = guest.launch(f"{other}; nop; {code}; hlt", rcx=index)
        assert (found.basic_reason, found.rip - CODE_VA) == (31 if code == "rdmsr" else 32, 3)

    def test_msrs_outside_both_ranges_always_exit(self, guest):
        guest.write_fields({f.MSR_BITMAP: guest.page(0)})
        assert (
            exit_of(guest, "rdmsr", f.CPU_BASED_USE_MSR_BITMAPS, rcx=0x4000_0000).reason
            == f.EXIT_REASON_RDMSR
        )

    def test_a_passed_through_write_reaches_the_processor(self, guest):
        guest.write_fields({f.MSR_BITMAP: guest.page(0)})
        runs_to_hlt(
            guest,
            "wrmsr; xor eax, eax; xor edx, edx; rdmsr",
            f.CPU_BASED_USE_MSR_BITMAPS,
            rcx=f.IA32_LSTAR,
            rax=0x1234_5678,
            rdx=0xFFFF_F800,
        )
        assert guest.processor.read_msr(f.IA32_LSTAR) == 0xFFFF_F800_1234_5678
        assert guest.gpr("rax") == 0x1234_5678

    def test_an_msr_that_is_not_there_is_general_protection_in_the_guest(self, guest):
        guest.write_fields({f.MSR_BITMAP: guest.page(0), f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP})
        guest.control(PRIMARY, f.CPU_BASED_USE_MSR_BITMAPS)
        found = guest.launch("rdmsr; hlt", rcx=0x1FFF)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA)

    def test_the_base_of_gs_is_the_guests_own(self, guest):
        guest.write_fields({f.MSR_BITMAP: guest.page(0)})
        runs_to_hlt(
            guest,
            "wrmsr; mov rbx, gs:[0]",
            f.CPU_BASED_USE_MSR_BITMAPS,
            rcx=f.IA32_GS_BASE,
            rax=DATA_VA & 0xFFFF_FFFF,
            rdx=DATA_VA >> 32,
        )
        assert guest.read(f.GUEST_GS_BASE) == DATA_VA


class TestControlRegisters:
    @pytest.mark.parametrize(
        ("code", "control", "qualification"),
        [
            ("mov cr3, rbx", f.CPU_BASED_CR3_LOAD_EXITING, 3 | 3 << 8),
            ("mov r9, cr3", f.CPU_BASED_CR3_STORE_EXITING, 3 | 1 << 4 | 9 << 8),
            ("mov cr8, rax", f.CPU_BASED_CR8_LOAD_EXITING, 8),
            ("mov rdx, cr8", f.CPU_BASED_CR8_STORE_EXITING, 8 | 1 << 4 | 2 << 8),
        ],
    )
    def test_cr3_and_cr8_exit_by_their_controls(self, guest, code, control, qualification):
        found = exit_of(guest, code, control)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_CR_ACCESS, qualification)

    def test_a_cr3_target_value_is_loaded_without_an_exit(self, guest):
        guest.write_fields({f.CR3_TARGET_COUNT: 1, f.CR3_TARGET_VALUE0: guest.root})
        runs_to_hlt(guest, "mov cr3, rax", f.CPU_BASED_CR3_LOAD_EXITING, rax=guest.root)

    @pytest.mark.parametrize("number", [0, 4])
    def test_a_write_exits_where_an_owned_bit_differs_from_its_shadow(self, guest, number):
        mask = {0: f.CR0_GUEST_HOST_MASK, 4: f.CR4_GUEST_HOST_MASK}[number]
        bit = {0: f.CR0_TS, 4: f.CR4_PGE}[number]
        guest.write_fields({mask: bit})
        found = exit_of(guest, f"mov cr{number}, rax", rax=bit)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_CR_ACCESS, number)

    def test_reads_show_the_shadow_where_the_host_owns_a_bit(self, guest):
        guest.write_fields({f.CR4_GUEST_HOST_MASK: f.CR4_VMXE, f.CR4_READ_SHADOW: 0})
        runs_to_hlt(guest, "mov rax, cr4")
        assert guest.gpr("rax") == guest.read(f.GUEST_CR4) & ~f.CR4_VMXE

    def test_a_write_that_agrees_with_the_shadow_leaves_owned_bits_alone(self, guest):
        guest.write_fields({f.CR4_GUEST_HOST_MASK: f.CR4_VMXE, f.CR4_READ_SHADOW: 0})
        value = guest.read(f.GUEST_CR4) & ~f.CR4_VMXE | f.CR4_TSD
        runs_to_hlt(guest, "mov cr4, rax", rax=value)
        assert guest.read(f.GUEST_CR4) == value | f.CR4_VMXE

    def test_a_bit_that_vmx_operation_fixes_cannot_be_changed(self, guest):
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP})
        value = guest.read(f.GUEST_CR0) & ~f.CR0_NE
        found = guest.launch("mov cr0, rax; hlt", rax=value)
        assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_VA)

    def test_clts_exits_if_the_shadow_of_an_owned_ts_is_1(self, guest):
        guest.write_fields({f.CR0_GUEST_HOST_MASK: f.CR0_TS, f.CR0_READ_SHADOW: f.CR0_TS})
        found = exit_of(guest, "clts")
        assert (found.reason, found.qualification) == (f.EXIT_REASON_CR_ACCESS, 2 << 4)

    def test_lmsw_reports_its_source_operand(self, guest):
        guest.write_fields({f.CR0_GUEST_HOST_MASK: f.CR0_TS, f.CR0_READ_SHADOW: 0})
        found = exit_of(guest, "lmsw ax", rax=0x8)
        assert found.qualification == 3 << 4 | 8 << 16

    def test_cr2_is_the_guests(self, guest):
        runs_to_hlt(guest, "mov cr2, rax; mov rbx, cr2", rax=0x1234)
        assert (guest.gpr("rbx"), guest.processor.cr2) == (0x1234, 0x1234)

    def test_cr8_is_written_through(self, guest):
        runs_to_hlt(guest, "mov cr8, rax; mov rbx, cr8", rax=5)
        assert (guest.gpr("rbx"), guest.processor.cr8) == (5, 5)


class TestDebugRegisters:
    def test_moves_exit_with_their_control(self, guest):
        found = exit_of(guest, "mov dr7, rbx", f.CPU_BASED_MOV_DR_EXITING)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_MOV_DR, 7 | 3 << 8)

    def test_the_direction_is_in_bit_4(self, guest):
        found = exit_of(guest, "mov rax, dr6", f.CPU_BASED_MOV_DR_EXITING)
        assert found.qualification == 6 | 1 << 4

    def test_without_it_they_reach_the_registers(self, guest):
        runs_to_hlt(guest, "mov dr0, rax; mov rbx, dr0", rax=0x1234)
        assert guest.gpr("rbx") == 0x1234


class TestVmxInstructions:
    def test_a_memory_operand_is_described(self, guest):
        found = exit_of(guest, "vmptrld [rax+rcx*4+0x40]")
        assert (found.reason, found.qualification) == (f.EXIT_REASON_VMPTRLD, 0x40)
        information = guest.read(f.VM_EXIT_INSTRUCTION_INFO)
        assert information & 3 == 2  # scale 4
        assert information >> 7 & 7 == 2  # 64-bit address
        assert information >> 15 & 7 == 3  # DS
        assert (information >> 18 & 0xF, information >> 23 & 0xF) == (1, 0)  # RCX, RAX
        assert not information & (1 << 22 | 1 << 27 | 1 << 10)

    def test_register_operands_are_described(self, guest):
        found = exit_of(guest, "vmread rbx, rdx")
        assert found.reason == f.EXIT_REASON_VMREAD
        information = guest.read(f.VM_EXIT_INSTRUCTION_INFO)
        assert information & 1 << 10
        assert (information >> 3 & 0xF, information >> 28) == (3, 2)

    def test_a_displacement_from_rip_is_an_address(self, guest):
        found = exit_of(guest, "vmclear [rip+0x100]")
        length = guest.read(f.VM_EXIT_INSTRUCTION_LEN)
        assert found.qualification == CODE_VA + 1 + length + 0x100


class TestDescriptorTables:
    @pytest.mark.parametrize(
        ("code", "reason", "identity"),
        [
            ("sgdt [rax]", f.EXIT_REASON_GDTR_IDTR_ACCESS, 0),
            ("sidt [rax]", f.EXIT_REASON_GDTR_IDTR_ACCESS, 1),
            ("lgdt [rax]", f.EXIT_REASON_GDTR_IDTR_ACCESS, 2),
            ("lidt [rax]", f.EXIT_REASON_GDTR_IDTR_ACCESS, 3),
            ("sldt ax", f.EXIT_REASON_LDTR_TR_ACCESS, 0),
            ("str ax", f.EXIT_REASON_LDTR_TR_ACCESS, 1),
            ("lldt ax", f.EXIT_REASON_LDTR_TR_ACCESS, 2),
            ("ltr ax", f.EXIT_REASON_LDTR_TR_ACCESS, 3),
        ],
    )
    def test_they_exit_with_descriptor_table_exiting(self, guest, code, reason, identity):
        found = exit_of(guest, code, secondary=f.SECONDARY_DESCRIPTOR_TABLE_EXITING, rax=DATA_VA)
        assert found.reason == reason
        assert guest.read(f.VM_EXIT_INSTRUCTION_INFO) >> 28 & 3 == identity

    def test_without_it_a_loaded_table_is_saved_at_the_next_exit(self, guest, at):
        guest.ram.write(at["data_pa"], b"\x7f\x00" + (0x1234_5000).to_bytes(8, "little"))
        runs_to_hlt(guest, "lidt [rax]", rax=DATA_VA)
        assert guest.read(f.GUEST_IDTR_BASE) == 0x1234_5000
        assert guest.read(f.GUEST_IDTR_LIMIT) == 0x7F


def test_segments_that_the_guest_loads_are_saved(guest):
    runs_to_hlt(guest, "xor eax, eax; mov ds, eax")
    assert guest.read(f.GUEST_DS_SELECTOR) == 0
    assert guest.read(f.GUEST_DS_AR_BYTES) & 1 << 16


def test_hlt_without_its_control_waits_and_the_guest_gives_its_quantum_back(guest):
    guest.control(PRIMARY, f.CPU_BASED_HLT_EXITING, clear=True)
    guest.put("hlt; cpuid")
    guest.unit.vmlaunch()
    assert guest.unit.run_guest(1000) is None
    assert guest.unit.activity == f.ACTIVITY_STATE_HLT
    assert guest.processor.rip == CODE_VA + 1
    assert guest.unit.run_guest(1000) is None


def test_a_quantum_ends_exactly_and_the_guest_goes_on(guest):
    guest.put("loop: inc rax; jmp loop")
    guest.unit.vmlaunch()
    assert guest.unit.run_guest(1001) is None
    assert guest.unit.retired == 1001
    assert guest.gpr("rax") == 501
    assert guest.unit.run_guest(999) is None
    assert guest.gpr("rax") == 1000


def test_the_monitor_trap_flag_exits_after_each_instruction(guest):
    guest.control(PRIMARY, f.CPU_BASED_MONITOR_TRAP_FLAG)
    assert guest.launch("inc rax; inc rax; hlt").reason == f.EXIT_REASON_MONITOR_TRAP_FLAG
    assert guest.gpr("rax") == 1
    guest.resume(skip=False)
    assert (guest.gpr("rax"), guest.read(f.GUEST_RIP)) == (2, CODE_VA + 6)


class TestSystemCalls:
    def test_syscall_goes_to_lstar_and_sysret_comes_back(self, guest, at):
        p = guest.processor
        p.write_msr(f.IA32_EFER, 0xD01)
        p.write_msr(f.IA32_STAR, 0x23 << 48 | 0x10 << 32)
        p.write_msr(f.IA32_LSTAR, 0xFFFF_F800_0006_0000)
        p.write_msr(f.IA32_FMASK, f.RFLAGS_IF)
        guest.engine.write_code(at["handlers_pa"], b"\x48\x0f\x07")  # SYSRET
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
            f.GUEST_RFLAGS: 0x202,
        }
        guest.write_fields(ring_3)
        found = guest.launch("syscall; cpuid")
        assert (found.reason, found.rip) == (f.EXIT_REASON_CPUID, CODE_VA + 2)
        assert (guest.gpr("rcx"), guest.gpr("r11")) == (CODE_VA + 2, 0x202)
        assert guest.read(f.GUEST_CS_SELECTOR) == 0x33
        assert guest.read(f.GUEST_RFLAGS) == 0x202

    def test_sysenter_goes_where_its_msrs_say(self, guest):
        fields = {f.GUEST_SYSENTER_CS: 0x10, f.GUEST_SYSENTER_EIP: 0xFFFF_F800_0006_0000}
        guest.write_fields(fields | {f.GUEST_SYSENTER_ESP: DATA_VA})
        found = guest.launch("sysenter")
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, 0xFFFF_F800_0006_0000)
        assert guest.read(f.GUEST_RSP) == DATA_VA


class TestWhatTheHostChanges:
    def test_code_that_the_host_rewrites_between_entries_is_not_stale(self, guest, at):
        guest.launch("cpuid; mov eax, 1; hlt")
        guest.ram.write(at["code_pa"] + 3, b"\x02")  # now mov eax, 2
        assert guest.resume().reason == f.EXIT_REASON_HLT
        assert guest.gpr("rax") == 2

    def test_page_tables_that_the_host_rewrites_are_not_stale(self, guest, at):
        guest.launch("mov rax, [rsi]; cpuid; mov rax, [rsi]; hlt", rsi=DATA_VA)
        other = guest.page(0x5A5A)
        guest.tables.write(guest.root, DATA_VA, other | 7)
        guest.resume()
        assert guest.gpr("rax") == 0x5A5A

    def test_another_guest_at_the_same_address_executes_its_own_code(self, guest, at):
        guest.launch("mov eax, 1; hlt")
        first = guest.unit.current_pointer
        guest.unit.vmclear(first)
        guest.unit.vmptrld(first)
        guest.write_fields({f.GUEST_RIP: CODE_VA})
        guest.ram.write(at["code_pa"], bytes.fromhex("b802000000 f4"))
        assert guest.launch().reason == f.EXIT_REASON_HLT
        assert guest.gpr("rax") == 2


def test_a_guest_that_faults_for_ever_still_gives_its_quantum_back(guest, at):
    guest.set_gate(6, ist=1)
    guest.engine.write_code(at["handlers_pa"] + 16 * 6, b"\x0f\x0b")  # the handler is UD2
    guest.put("ud2")
    guest.unit.vmlaunch()
    assert guest.unit.run_guest(50) is None
    assert guest.unit.retired >= 50
