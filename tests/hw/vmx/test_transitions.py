"""What VM entries load, what VM exits save and load, MSR lists, VM-entry failures, VMX aborts."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.vmx.events import VmEntered, VmEntryUsedUnwritten, VmExited, VmxAborted
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.results import Entered, VmFailValid
from ntsim.hw.vmx.state import VmxMode

HOST_RIP, HOST_RSP = 0xFFFF_8000_0000_4000, 0xFFFF_8000_0000_8000
CODE_VA = 0xFFFF_F800_0000_0000


def msr_area(guest, *entries):
    """An MSR area of (index, data)."""
    page = guest.page(0)
    for i, (index, data) in enumerate(entries):
        guest.ram.write(page + 16 * i, index.to_bytes(8, "little") + data.to_bytes(8, "little"))
    return page


class TestVmEntry:
    def test_it_loads_the_guests_registers(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: 0x202, f.GUEST_FS_BASE: 0x1234, f.GUEST_CR3: 0x5000})
        assert isinstance(guest.unit.vmlaunch(), Entered)
        p = guest.processor
        assert (p.rip, p.rflags, p.cr3, p.fs.base) == (CODE_VA, 0x202, 0x5000, 0x1234)
        assert guest.unit.mode is VmxMode.NON_ROOT
        assert guest.unit.mode_name == "non-root"

    def test_cpl_is_the_dpl_of_ss(self, guest):
        guest.write_fields(
            {
                f.GUEST_CS_SELECTOR: 0x33,
                f.GUEST_CS_AR_BYTES: 0xA0FB,
                f.GUEST_SS_SELECTOR: 0x2B,
                f.GUEST_SS_AR_BYTES: 0xC0F3,
            }
        )
        guest.unit.vmlaunch()
        assert guest.processor.cpl == 3

    def test_efer_is_loaded_by_its_control_alone(self, guest):
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_IA32_EFER)
        guest.write_fields({f.GUEST_EFER: f.EFER_LME | f.EFER_LMA})
        guest.unit.vmlaunch()
        assert guest.processor.efer == f.EFER_LME | f.EFER_LMA

    def test_it_makes_the_launch_state_launched(self, guest):
        guest.launch("hlt")
        assert isinstance(guest.unit.vmlaunch(), VmFailValid)
        assert guest.read(f.VM_INSTRUCTION_ERROR) == 4

    def test_vmresume_after_vmxoff_and_vmxon_is_error_6(self, guest):
        guest.launch("hlt")
        unit, vmcs = guest.unit, guest.unit.current_pointer
        unit.vmxoff()
        guest.processor.cr4 |= f.CR4_VMXE
        unit.vmxon(guest.page())
        unit.vmptrld(vmcs)
        result = unit.vmresume()
        assert isinstance(result, VmFailValid)
        assert result.error == 6

    def test_events_say_who_entered_and_left(self, guest):
        guest.launch("nop; hlt")
        entered, exited = guest.events[-2:]
        assert entered == VmEntered(0, guest.unit.current_pointer, "VMLAUNCH", CODE_VA)
        assert exited == VmExited(0, guest.unit.current_pointer, 12, 0, CODE_VA + 1, "")


class TestVmExit:
    def test_host_state_is_loaded(self, guest):
        guest.launch("hlt")
        p = guest.processor
        assert (p.rip, p.rsp, p.cpl) == (HOST_RIP, HOST_RSP, 0)
        assert (p.cs.selector, p.cs.access_rights, p.cs.limit) == (0x10, 0xA09B, 0xFFFF_FFFF)
        assert (p.ss.selector, p.ss.access_rights) == (0x18, 0xC093)
        assert p.ds.access_rights & f.ACCESS_RIGHTS_UNUSABLE  # HOST_DS_SELECTOR is 0
        assert (p.tr.selector, p.tr.limit, p.tr.access_rights) == (0x40, 0x67, 0x8B)
        assert p.ldtr.access_rights & f.ACCESS_RIGHTS_UNUSABLE
        assert p.gs.base == 0xFFFF_8000_1234_0000
        assert p.cr3 == 0x1000

    def test_rflags_is_2_and_table_limits_are_ffff(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: 0x202, f.GUEST_GDTR_LIMIT: 0x57})
        guest.launch("hlt")
        p = guest.processor
        assert p.rflags == 2
        assert (p.gdtr.limit, p.idtr.limit) == (0xFFFF, 0xFFFF)

    def test_cr8_keeps_the_guests_value(self, guest):
        guest.launch("mov cr8, rax; hlt", rax=9)
        assert guest.processor.cr8 == 9

    def test_dr7_and_debugctl_are_reset(self, guest):
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS)
        guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_DEBUG_CONTROLS)
        guest.write_fields({f.GUEST_DR7: 0x555, f.GUEST_IA32_DEBUGCTL: 2})
        guest.launch("hlt")
        assert guest.processor.dr[7] == 0x400
        assert guest.processor.read_msr(f.IA32_DEBUGCTL) == 0
        assert (guest.read(f.GUEST_DR7), guest.read(f.GUEST_IA32_DEBUGCTL)) == (0x555, 2)

    def test_guest_registers_are_saved(self, guest):
        guest.launch("push rax; mov ecx, 0x10; hlt")
        assert guest.read(f.GUEST_RSP) == 0xFFFF_F800_0002_0FF0 - 8
        assert guest.read(f.GUEST_CS_AR_BYTES) == 0xA09B
        assert guest.gpr("rcx") == 0x10

    def test_host_efer_and_pat_by_their_controls(self, guest):
        guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_LOAD_IA32_PAT | f.VM_EXIT_LOAD_IA32_EFER)
        guest.write_fields({f.HOST_PAT: 0x0606_0606_0606_0606, f.HOST_EFER: 0x501})
        guest.launch("hlt")
        assert guest.processor.read_msr(f.IA32_PAT) == 0x0606_0606_0606_0606
        assert guest.processor.efer == 0x501

    def test_an_intrinsic_in_a_guest_that_is_the_kernel_exits(self, guest):
        guest.unit.vmlaunch()
        would = guest.unit.vmcall()
        exited = guest.unit.exit(would)
        assert exited == GuestExit(f.EXIT_REASON_VMCALL, 0, CODE_VA)
        assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == 3
        assert guest.processor.rip == HOST_RIP


class TestMsrLists:
    def test_an_entry_loads_and_an_exit_stores_and_loads(self, guest):
        entry = msr_area(guest, (f.IA32_LSTAR, 0x1111))
        store = msr_area(guest, (f.IA32_LSTAR, 0))
        load = msr_area(guest, (f.IA32_LSTAR, 0x2222))
        guest.write_fields(
            {
                f.VM_ENTRY_MSR_LOAD_ADDR: entry,
                f.VM_ENTRY_MSR_LOAD_COUNT: 1,
                f.VM_EXIT_MSR_STORE_ADDR: store,
                f.VM_EXIT_MSR_STORE_COUNT: 1,
                f.VM_EXIT_MSR_LOAD_ADDR: load,
                f.VM_EXIT_MSR_LOAD_COUNT: 1,
            }
        )
        guest.launch("hlt")
        assert guest.ram.u64[store + 8 >> 3] == 0x1111
        assert guest.processor.read_msr(f.IA32_LSTAR) == 0x2222

    @pytest.mark.parametrize(
        "entry",
        [
            (f.IA32_FS_BASE, 0),
            (f.IA32_GS_BASE, 0),
            (f.IA32_X2APIC_TPR, 0),
            (0x1_0000_0000 | f.IA32_LSTAR, 0),
            (f.IA32_LSTAR, 1 << 60),
            (0x1FFF, 0),
        ],
    )
    def test_a_refused_entry_is_a_vm_entry_failure_with_its_number(self, guest, entry):
        area = msr_area(guest, (f.IA32_LSTAR, 0x1111), entry)
        guest.write_fields({f.VM_ENTRY_MSR_LOAD_ADDR: area, f.VM_ENTRY_MSR_LOAD_COUNT: 2})
        failed = guest.unit.vmlaunch()
        assert (failed.reason, failed.qualification) == (0x8000_0022, 2)
        assert guest.processor.rip == HOST_RIP

    def test_an_exit_list_that_cannot_be_loaded_aborts(self, guest):
        area = msr_area(guest, (f.IA32_GS_BASE, 0))
        guest.write_fields({f.VM_EXIT_MSR_LOAD_ADDR: area, f.VM_EXIT_MSR_LOAD_COUNT: 1})
        exited = guest.launch("hlt")
        vmcs = guest.unit.current_pointer
        assert exited.aborted == 4
        assert guest.ram.u32[vmcs + 4 >> 2] == 4
        assert guest.processor.halted
        assert any(isinstance(event, VmxAborted) for event in guest.events)


class TestVmEntryFailure:
    def test_a_bad_guest_field_loads_the_host_and_says_reason_33(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: 0})
        failed = guest.unit.vmlaunch()
        assert isinstance(failed, GuestExit)
        assert (failed.reason, failed.basic_reason, failed.entry_failed) == (0x8000_0021, 33, True)
        assert guest.read(f.VM_EXIT_REASON) == 0x8000_0021
        assert guest.processor.rip == HOST_RIP
        assert guest.unit.mode is VmxMode.ROOT

    def test_it_leaves_the_launch_state_clear(self, guest):
        guest.write_fields({f.GUEST_RFLAGS: 0})
        guest.unit.vmlaunch()
        guest.write_fields({f.GUEST_RFLAGS: 2})
        assert isinstance(guest.unit.vmlaunch(), Entered)

    def test_it_keeps_the_injection_field_valid(self, guest):
        fields = {f.VM_ENTRY_INTR_INFO_FIELD: 0x8000_0306, f.GUEST_RFLAGS: 0}
        guest.write_fields(fields)
        guest.unit.vmlaunch()
        assert guest.read(f.VM_ENTRY_INTR_INFO_FIELD) == 0x8000_0306

    def test_a_bad_link_pointer_has_qualification_4(self, guest):
        guest.write_fields({f.VMCS_LINK_POINTER: 0x1000})
        assert guest.unit.vmlaunch().qualification == 4


class TestUnwrittenFields:
    def test_a_launch_that_depends_on_fields_nobody_wrote_is_reported(self, guest):
        guest.launch("hlt")
        (reported,) = [e for e in guest.events if isinstance(e, VmEntryUsedUnwritten)]
        assert f.GUEST_SYSENTER_EIP in reported.fields
        assert f.GUEST_RIP not in reported.fields
        assert f.TSC_OFFSET not in reported.fields  # its control is off
