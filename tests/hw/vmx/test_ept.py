"""Guests with EPT: translation, violations, misconfigurations, real-address mode."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.vmx.guest.ept import FETCH, READ, WRITE, Ept, EptFault
from ntsim.hw.vmx.results import VmFailValid

CODE_VA, DATA_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0001_0000
CODE_PA, DATA_PA, STACK_PA = 0x20_0000, 0x20_1000, 0x20_2000
RWX = 0x37  # write-back, all rights
LINEAR, FINAL = 1 << 7, 1 << 8


class TestTranslation:
    def test_a_guest_runs_behind_an_identity_map(self, guest):
        guest.enable_ept()
        found = guest.launch("mov [rax], rbx; mov rcx, [rax]; hlt", rax=DATA_VA, rbx=0x1234)
        assert (found.reason, guest.gpr("rcx")) == (f.EXIT_REASON_HLT, 0x1234)
        assert guest.ram.u64[DATA_PA >> 3] == 0x1234

    def test_another_frame_may_stand_behind_a_guest_physical_page(self, guest):
        guest.enable_ept()
        other = guest.page(0)
        guest.set_ept(DATA_PA, other | RWX)
        guest.launch("mov [rax], rbx; hlt", rax=DATA_VA, rbx=0x1234)
        assert guest.ram.u64[other >> 3] == 0x1234
        assert guest.ram.u64[DATA_PA >> 3] == 0

    def test_a_2_mbyte_page_maps_everything_at_once(self, guest):
        guest.enable_ept()
        guest.set_ept(0x20_0000, 0x20_0000 | RWX | 1 << 7, level=2)
        assert guest.launch("mov rax, [rax]; hlt", rax=DATA_VA).reason == f.EXIT_REASON_HLT

    def test_events_are_delivered_through_it(self, guest):
        guest.enable_ept()
        assert guest.launch("ud2").rip == 0xFFFF_F800_0006_0000 + 6 * 16


class TestViolations:
    def test_a_page_that_is_not_there(self, guest):
        guest.enable_ept()
        guest.set_ept(DATA_PA, 0)
        found = guest.launch("mov rbx, [rax+8]; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert found.qualification == READ | LINEAR | FINAL
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == DATA_PA + 8
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == DATA_VA + 8
        assert found.rip == CODE_VA

    def test_a_write_to_a_read_only_page_shows_what_was_allowed(self, guest):
        guest.enable_ept()
        guest.set_ept(DATA_PA, DATA_PA | 0x31)
        found = guest.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.qualification == WRITE | READ << 3 | LINEAR | FINAL

    def test_a_fetch_from_a_page_without_execute_rights(self, guest):
        guest.enable_ept()
        guest.set_ept(CODE_PA, CODE_PA | 0x33)
        found = guest.launch("hlt")
        assert found.qualification == FETCH | (READ | WRITE) << 3 | LINEAR | FINAL
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == CODE_VA

    def test_a_page_for_execution_only_runs_and_cannot_be_read(self, guest):
        """SDM 3, "EPT Translation Mechanism": IA32_VMX_EPT_VPID_CAP[0]."""
        guest.enable_ept()
        guest.set_ept(CODE_PA, CODE_PA | 0x34)
        code = "inc rcx; mov rbx, [rdx]; inc rcx; mov rbx, [rax]; hlt"
        found = guest.launch(code, rax=CODE_VA, rdx=DATA_VA, rcx=0)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert found.qualification == READ | FETCH << 3 | LINEAR | FINAL
        assert (guest.read(f.GUEST_LINEAR_ADDRESS), found.rip) == (CODE_VA, CODE_VA + 9)
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == CODE_PA
        assert guest.gpr("rcx") == 2

    def test_an_instruction_may_lie_in_two_pages_for_execution_only(self, guest):
        guest.enable_ept()
        for page in (CODE_PA, DATA_PA):
            guest.set_ept(page, page | 0x34)
        guest.tables.write(guest.root, CODE_VA + 0x1000, DATA_PA | 7)
        both = bytes.fromhex("b9 67452301 f4")  # mov ecx, 0x1234567; hlt
        guest.engine.write_code(CODE_PA + 0xFFE, both[:2])
        guest.engine.write_code(DATA_PA, both[2:])
        guest.write_fields({f.GUEST_RIP: CODE_VA + 0xFFE})
        found = guest.launch()
        assert (found.reason, guest.gpr("rcx")) == (f.EXIT_REASON_HLT, 0x1234567)

    def test_a_push_is_a_write_at_the_stack(self, guest):
        guest.enable_ept()
        guest.set_ept(STACK_PA, 0)
        found = guest.launch("push rax; hlt")
        assert found.qualification == WRITE | LINEAR | FINAL
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == 0xFFFF_F800_0002_0FE8

    def test_a_paging_structure_is_not_the_final_translation(self, guest):
        guest.enable_ept()
        table = guest.tables.entry_address(guest.root, DATA_VA)
        guest.set_ept(table & ~0xFFF, 0)
        found = guest.launch("mov rbx, [rax]; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert not found.qualification & FINAL
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) & ~0xFFF == table & ~0xFFF

    def test_the_guest_goes_on_when_the_page_has_been_mapped(self, guest):
        guest.enable_ept()
        guest.set_ept(DATA_PA, 0)
        guest.ram.u64[DATA_PA >> 3] = 0x77
        guest.launch("mov rbx, [rax]; hlt", rax=DATA_VA)
        guest.set_ept(DATA_PA, DATA_PA | RWX)
        assert guest.resume(skip=False).reason == f.EXIT_REASON_HLT
        assert guest.gpr("rbx") == 0x77

    def test_rights_taken_away_count_after_invept(self, guest):
        guest.enable_ept()
        guest.launch("mov rbx, [rax]; cpuid; mov rbx, [rsi]; hlt", rax=DATA_VA, rsi=DATA_VA)
        guest.set_ept(DATA_PA, 0)
        guest.unit.invept(2, 0)
        assert guest.resume().reason == f.EXIT_REASON_EPT_VIOLATION

    def test_during_event_delivery_the_event_is_reported(self, guest):
        guest.enable_ept()
        guest.set_ept(STACK_PA, 0)
        found = guest.launch("ud2")
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert guest.read(f.IDT_VECTORING_INFO) == 0x8000_0306


class TestMisconfigurations:
    @pytest.mark.parametrize(
        "entry",
        [
            DATA_PA | 0x32,  # write without read
            DATA_PA | 0x36,  # write and execute without read
            DATA_PA | 0x17,  # memory type 2
            1 << 39 | 0x37,  # beyond the physical-address width
        ],
    )
    def test_an_entry_that_means_nothing(self, guest, entry):
        guest.enable_ept()
        guest.set_ept(DATA_PA, entry)
        found = guest.launch("mov rbx, [rax]; hlt", rax=DATA_VA)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_EPT_MISCONFIGURATION, 0)
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == DATA_PA

    def test_reserved_bits_of_a_table_entry(self, guest):
        guest.enable_ept()
        guest.set_ept(0x40_0000, 0x1F, level=2)
        ept = Ept(guest.ept_root, guest.capabilities, guest.ram)
        with pytest.raises(EptFault) as caught:
            ept.walk(0x40_0000)
        assert caught.value.qualification is None


class TestUnrestrictedGuest:
    def test_it_needs_ept(self, guest):
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
        guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_UNRESTRICTED_GUEST)
        result = guest.unit.vmlaunch()
        assert isinstance(result, VmFailValid)
        assert result.error == 7

    def test_real_address_mode_code_runs_and_exits(self, guest):
        guest.enable_ept()
        guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_UNRESTRICTED_GUEST)
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_IA32E_MODE_GUEST, clear=True)
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_UNCONDITIONAL_IO_EXITING)
        guest.set_ept(0x8000, CODE_PA | RWX)
        fields = {
            f.GUEST_CR0: 0x30,
            f.GUEST_CR4: f.CR4_VMXE,
            f.GUEST_RIP: 0,
            f.GUEST_RSP: 0x800,
            f.GUEST_TR_AR_BYTES: 0x8B,
            f.GUEST_CS_SELECTOR: 0x800,
            f.GUEST_CS_BASE: 0x8000,
            f.GUEST_CS_LIMIT: 0xFFFF,
            f.GUEST_CS_AR_BYTES: 0x9B,
        }
        for name in ("ES", "SS", "DS", "FS", "GS"):
            fields[getattr(f, f"GUEST_{name}_SELECTOR")] = 0
            fields[getattr(f, f"GUEST_{name}_LIMIT")] = 0xFFFF
            fields[getattr(f, f"GUEST_{name}_AR_BYTES")] = 0x93
        guest.write_fields(fields)
        # mov ax, 0x1234; mov dx, 0x3f8; out dx, ax; hlt
        found = guest.launch(bytes.fromhex("b83412 baf803 ef f4"))
        assert (found.reason, found.rip) == (f.EXIT_REASON_IO_INSTRUCTION, 6)
        assert found.qualification == 0x3F8 << 16 | 1
        assert guest.gpr("rax") & 0xFFFF == 0x1234
        assert guest.resume().reason == f.EXIT_REASON_HLT
