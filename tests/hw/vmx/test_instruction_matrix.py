"""Each VMX instruction in each mode and state that the SDM distinguishes, and every error number.

Source: SDM 3, "VMX Instruction Reference", the pseudocode of each instruction in its order;
"VM Instruction Error Numbers".
"""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.exceptions import GENERAL_PROTECTION, INVALID_OPCODE, ProcessorException
from ntsim.hw.vmx.results import (
    ARITHMETIC_FLAGS,
    Entered,
    VmFailInvalid,
    VmFailValid,
    VmSucceed,
    WouldExit,
)
from ntsim.hw.vmx.state import VmxMode
from ntsim.hw.vmx.vmcs import NO_POINTER

GUEST_RIP = f.GUEST_RIP

INSTRUCTIONS = {
    "vmxon": (0x1000,),
    "vmxoff": (),
    "vmclear": (0x1000,),
    "vmptrld": (0x1000,),
    "vmptrst": (),
    "vmread": (GUEST_RIP,),
    "vmwrite": (GUEST_RIP, 0),
    "vmlaunch": (),
    "vmresume": (),
    "vmcall": (),
    "invept": (2, 0),
    "invvpid": (2, 0, 0),
}
LENGTHS = dict.fromkeys(INSTRUCTIONS, 3) | {"vmxon": 4, "vmclear": 4, "invept": 5, "invvpid": 5}
EXIT_REASONS = {name: getattr(f, f"EXIT_REASON_{name.upper()}") for name in INSTRUCTIONS}
MODES = ("real", "virtual-8086", "compatibility")
each = pytest.mark.parametrize("name", INSTRUCTIONS)


def execute(unit, name):
    """The instruction, after flags that only it can clear."""
    unit.processor.rflags |= ARITHMETIC_FLAGS
    return getattr(unit, name)(*INSTRUCTIONS[name])


def faults(unit, name, vector):
    """It raises `vector` and changes neither flags, nor mode, nor pointers, nor memory."""
    rflags = unit.processor.rflags | ARITHMETIC_FLAGS
    before = unit.mode, unit.vmxon_pointer, unit.current_pointer, set(unit.active)
    with pytest.raises(ProcessorException) as caught:
        execute(unit, name)
    assert caught.value.vector == vector
    assert caught.value.error_code == (None if vector == INVALID_OPCODE else 0)
    assert unit.processor.rflags == rflags
    assert (unit.mode, unit.vmxon_pointer, unit.current_pointer, set(unit.active)) == before


def switch(processor, mode):
    if mode == "real":
        processor.cr0 &= ~f.CR0_PE
    elif mode == "virtual-8086":
        processor.rflags |= f.RFLAGS_VM
        processor.cpl = 3
    else:
        processor.cs.access_rights = 0xC09B


@each
def test_outside_vmx_operation_all_but_vmxon_are_undefined(rig, name):
    if name == "vmxon":
        assert isinstance(execute(rig.unit, name), VmFailInvalid)  # no region at 1000H
    else:
        faults(rig.unit, name, INVALID_OPCODE)


@each
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inside", [False, True])
def test_in_other_modes_they_are_undefined(rig, name, mode, inside):
    unit = rig.with_vmcs() if inside else rig.unit
    switch(rig.processor, mode)
    faults(unit, name, INVALID_OPCODE)


@each
@pytest.mark.parametrize("cpl", [1, 2, 3])
def test_outside_ring_0_of_the_host_they_are_general_protection(rig, name, cpl):
    unit = rig.with_vmcs()
    rig.processor.cpl = cpl
    faults(unit, name, GENERAL_PROTECTION)


@each
@pytest.mark.parametrize("cpl", [0, 1, 3])
def test_in_a_guest_they_exit_whatever_the_ring(rig, name, cpl):
    unit = rig.with_vmcs()
    unit.mode, rig.processor.cpl = VmxMode.NON_ROOT, cpl
    result = execute(unit, name)
    assert result == WouldExit(EXIT_REASONS[name], 0, LENGTHS[name])
    assert rig.processor.rflags & ARITHMETIC_FLAGS == ARITHMETIC_FLAGS


@each
@pytest.mark.parametrize("mode", MODES)
def test_in_a_guest_in_other_modes_only_vmcall_exits(rig, name, mode):
    unit = rig.with_vmcs()
    unit.mode = VmxMode.NON_ROOT
    switch(rig.processor, mode)
    if name == "vmcall":
        assert execute(unit, name).reason == f.EXIT_REASON_VMCALL
    else:
        faults(unit, name, INVALID_OPCODE)


SUCCESSFUL = ("vmxoff", "vmclear", "vmptrst", "vmread", "vmwrite", "invept", "invvpid")


@pytest.mark.parametrize("name", SUCCESSFUL)
def test_success_clears_the_arithmetic_flags_and_no_others(rig, name):
    unit = rig.with_vmcs()
    rig.processor.rflags |= f.RFLAGS_IF | f.RFLAGS_DF
    assert isinstance(execute(unit, name), VmSucceed)
    assert rig.processor.rflags == f.RFLAGS_IF | f.RFLAGS_DF | 2


WITHOUT_VMCS = ("vmread", "vmwrite", "vmlaunch", "vmresume", "vmcall", "vmxon")


@pytest.mark.parametrize("name", WITHOUT_VMCS)
def test_failure_without_a_current_vmcs_is_invalid_and_sets_cf_alone(rig, name):
    unit = rig.in_root()
    assert isinstance(execute(unit, name), VmFailInvalid)
    assert rig.processor.rflags & ARITHMETIC_FLAGS == f.RFLAGS_CF


@pytest.mark.parametrize("name", ["vmread", "vmwrite", "vmlaunch", "vmresume"])
def test_after_vmclear_of_the_current_vmcs_there_is_none(rig, name):
    unit = rig.with_vmcs()
    unit.vmclear(unit.current_pointer)
    assert isinstance(execute(unit, name), VmFailInvalid)


class TestVmxon:
    @pytest.mark.parametrize("control", range(8))
    def test_feature_control(self, make_rig, control):
        """Outside SMX operation bit 0 (lock) and bit 2 have to be set; bit 1 is for SMX."""
        rig = make_rig(model=CpuModel(name="firmware", msrs={f.IA32_FEATURE_CONTROL: control}))
        region = rig.page()
        if control & 5 == 5:
            assert rig.unit.vmxon(region) == VmSucceed()
        else:
            with pytest.raises(ProcessorException, check=lambda e: e.vector == GENERAL_PROTECTION):
                rig.unit.vmxon(region)

    @pytest.mark.parametrize("bit", range(32))
    @pytest.mark.parametrize("register", ["cr0", "cr4"])
    def test_each_bit_that_vmx_operation_fixes(self, rig, register, bit):
        """IA32_VMX_CR0_FIXED0/1 and CR4_FIXED0/1, one bit at a time."""
        fixed = getattr(rig.capabilities, register)
        if register == "cr4":
            rig.processor.cr4 |= f.CR4_VMXE
        changed = getattr(rig.processor, register) ^ 1 << bit
        if (register, bit) in (("cr0", 0), ("cr4", 13)):
            return  # PE and VMXE: an invalid opcode, which comes first
        setattr(rig.processor, register, changed)
        region = rig.page()
        if fixed.allows(changed):
            assert rig.unit.vmxon(region) == VmSucceed()
        else:
            with pytest.raises(ProcessorException, check=lambda e: e.vector == GENERAL_PROTECTION):
                rig.unit.vmxon(region)

    def test_the_mode_comes_before_the_ring(self, rig):
        rig.processor.cr4 &= ~f.CR4_VMXE
        rig.processor.cpl = 3
        faults(rig.unit, "vmxon", INVALID_OPCODE)

    def test_the_ring_comes_before_the_pointer(self, rig):
        rig.processor.cpl = 3
        with pytest.raises(ProcessorException, check=lambda e: e.vector == GENERAL_PROTECTION):
            rig.unit.vmxon(1)

    def test_in_root_operation_nothing_is_looked_at_but_the_ring(self, rig):
        unit = rig.with_vmcs()
        pointer = unit.vmxon_pointer
        assert unit.vmxon(1) == VmFailValid(15, unit.vmxon(1).reason)
        assert unit.vmxon_pointer == pointer

    def test_it_leaves_other_processors_alone(self, make_rig):
        rig = make_rig(processors=2)
        rig.in_root(0)
        assert not rig.units[1].in_operation


class TestOrderOfChecks:
    """Where an operand breaks two rules the first in the pseudocode says which number."""

    def test_vmptrld_address_before_vmxon_pointer_before_revision(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmptrld(unit.vmxon_pointer | 1).error == 9
        rig.ram.write(unit.vmxon_pointer, b"\xff\xff\xff\x7f")
        assert unit.vmptrld(unit.vmxon_pointer).error == 10

    def test_vmlaunch_mov_ss_before_launch_state_before_controls(self, guest):
        guest.launch("hlt")
        guest.write_fields({f.PIN_BASED_VM_EXEC_CONTROL: 0, f.GUEST_RFLAGS: 0})
        guest.processor.mov_ss_blocking = True
        assert guest.unit.vmlaunch().error == 26
        guest.processor.mov_ss_blocking = False
        assert guest.unit.vmlaunch().error == 4
        assert guest.unit.vmresume().error == 7
        guest.control(f.PIN_BASED_VM_EXEC_CONTROL, guest.capabilities.pin_based.must_be_one)
        guest.write_fields({f.HOST_RIP: 1 << 63, f.HOST_CR4: 0})
        assert guest.unit.vmresume().error == 8

    def test_without_a_vmcs_nothing_else_is_looked_at(self, rig):
        unit = rig.in_root()
        rig.processor.mov_ss_blocking = True
        assert isinstance(unit.vmlaunch(), VmFailInvalid)

    def test_vmwrite_support_before_read_only(self, make_rig):
        rig = make_rig(model=CpuModel(based_on="Xeon-W3670"))
        unit = rig.with_vmcs()
        assert unit.vmwrite(0x4420, 0).error == 12  # a read-only component that is not there
        assert unit.vmwrite(f.VM_EXIT_REASON, 0).error == 13

    def test_invvpid_type_before_descriptor(self, rig):
        unit = rig.with_vmcs()
        assert "type" in unit.invvpid(9, 1 << 16, 0).reason
        assert "reserved" in unit.invvpid(1, 1 << 16, 0).reason


class TestErrorNumbers:
    """Each number that VM-instruction error can hold here, raised; docs/vmx-instructions.md."""

    def test_1_vmcall_in_root_operation(self, rig):
        assert rig.with_vmcs().vmcall().error == 1

    @pytest.mark.parametrize("pointer", [0x10_0001, 0x10_0FFF, 1 << 39, 1 << 63])
    def test_2_vmclear_with_an_invalid_address(self, rig, pointer):
        assert rig.with_vmcs().vmclear(pointer).error == 2

    def test_3_vmclear_with_the_vmxon_pointer(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmclear(unit.vmxon_pointer).error == 3

    def test_4_vmlaunch_with_a_vmcs_that_is_not_clear(self, guest):
        guest.launch("hlt")
        assert guest.unit.vmlaunch().error == 4

    def test_5_vmresume_with_a_vmcs_that_is_not_launched(self, rig):
        assert rig.with_vmcs().vmresume().error == 5

    def test_6_vmresume_after_vmxoff(self, guest):
        guest.launch("hlt")
        unit, vmcs = guest.unit, guest.unit.current_pointer
        unit.vmxoff()
        unit.vmxon(guest.page())
        unit.vmptrld(vmcs)
        assert unit.vmresume().error == 6

    def test_7_vm_entry_with_invalid_control_fields(self, rig):
        assert rig.with_vmcs().vmlaunch().error == 7

    def test_8_vm_entry_with_invalid_host_state(self, guest):
        guest.write_fields({f.HOST_CS_SELECTOR: 0})
        assert guest.unit.vmlaunch().error == 8

    @pytest.mark.parametrize("pointer", [0x10_0001, 1 << 39])
    def test_9_vmptrld_with_an_invalid_address(self, rig, pointer):
        assert rig.with_vmcs().vmptrld(pointer).error == 9

    def test_10_vmptrld_with_the_vmxon_pointer(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmptrld(unit.vmxon_pointer).error == 10

    def test_11_vmptrld_with_another_revision_identifier(self, rig):
        assert rig.with_vmcs().vmptrld(rig.page(0x1234)).error == 11

    def test_12_an_unsupported_component(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmread(0x6830).error == 12
        assert unit.vmwrite(0x6830, 0).error == 12

    def test_13_vmwrite_to_a_read_only_component(self, make_rig):
        rig = make_rig(model=CpuModel(based_on="Xeon-W3670"))
        assert rig.with_vmcs().vmwrite(f.EXIT_QUALIFICATION, 0).error == 13

    def test_15_vmxon_in_root_operation(self, rig):
        assert rig.with_vmcs().vmxon(rig.page()).error == 15

    def test_26_events_blocked_by_mov_ss(self, rig):
        unit = rig.with_vmcs()
        rig.processor.mov_ss_blocking = True
        assert (unit.vmlaunch().error, unit.vmresume().error) == (26, 26)

    def test_28_an_invalid_operand_of_invept_or_invvpid(self, rig):
        unit = rig.with_vmcs()
        assert (unit.invept(7, 0).error, unit.invvpid(7, 1, 0).error) == (28, 28)

    def test_the_number_is_in_the_field_and_stays_until_the_next_failure(self, rig):
        unit = rig.with_vmcs()
        unit.vmclear(1)
        unit.vmptrst()
        assert unit.vmread(f.VM_INSTRUCTION_ERROR).value == 2
        unit.vmptrld(1)
        assert unit.vmread(f.VM_INSTRUCTION_ERROR).value == 9

    def test_it_is_of_the_vmcs_that_was_current(self, rig):
        unit = rig.with_vmcs()
        first, second = unit.current_pointer, rig.page()
        unit.vmclear(1)
        unit.vmclear(second)
        unit.vmptrld(second)
        assert unit.vmread(f.VM_INSTRUCTION_ERROR).value == 0
        unit.vmptrld(first)
        assert unit.vmread(f.VM_INSTRUCTION_ERROR).value == 2


class TestShadowVmcs:
    def test_vmptrld_refuses_one_where_there_is_no_shadowing(self, make_rig):
        rig = make_rig(model=CpuModel(based_on="Xeon-W3670"))
        word = rig.capabilities.revision_id | f.VMCS_SHADOW_INDICATOR
        assert rig.with_vmcs().vmptrld(rig.page(word)).error == 11


class TestWithoutEptOrVpid:
    @pytest.mark.parametrize(("name", "bit"), [("invept", 20), ("invvpid", 32)])
    def test_an_instruction_that_the_processor_lacks_is_undefined(self, make_rig, name, bit):
        ept_vpid = 0x0000_0F01_0633_4141 & ~(1 << bit)
        rig = make_rig(model=CpuModel(name="less", msrs={f.IA32_VMX_EPT_VPID_CAP: ept_vpid}))
        faults(rig.with_vmcs(), name, INVALID_OPCODE)

    @pytest.mark.parametrize("kind", [1, 2])
    def test_each_invept_type_has_its_capability_bit(self, make_rig, kind):
        ept_vpid = 0x0000_0F01_0633_4141 & ~(1 << 24 + kind)
        rig = make_rig(model=CpuModel(name="less", msrs={f.IA32_VMX_EPT_VPID_CAP: ept_vpid}))
        unit = rig.with_vmcs()
        assert unit.invept(kind, 0x1E).error == 28
        assert unit.invept(3 - kind, 0x1E) == VmSucceed()

    @pytest.mark.parametrize("kind", range(4))
    def test_each_invvpid_type_has_its_capability_bit(self, make_rig, kind):
        ept_vpid = 0x0000_0F01_0633_4141 & ~(1 << 40 + kind)
        rig = make_rig(model=CpuModel(name="less", msrs={f.IA32_VMX_EPT_VPID_CAP: ept_vpid}))
        unit = rig.with_vmcs()
        for one in range(4):
            result = unit.invvpid(one, 1, 0)
            assert isinstance(result, VmFailValid) == (one == kind)


def test_a_vm_entry_that_succeeds_says_nothing_through_the_flags(guest):
    """The next thing that executes is the guest: the flags are the guest's."""
    guest.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_CF | f.RFLAGS_ZF})
    assert isinstance(guest.unit.vmlaunch(), Entered)
    assert guest.processor.rflags == 2 | f.RFLAGS_CF | f.RFLAGS_ZF


def test_vmxoff_leaves_nothing_behind(rig):
    unit = rig.with_vmcs()
    unit.vmxoff()
    assert (unit.vmxon_pointer, unit.current_pointer, unit.active) == (NO_POINTER, NO_POINTER, {})
    assert rig.processor.cr4 & f.CR4_VMXE
