"""VMX instructions: each rule of the SDM's instruction reference, one test a rule."""

import pytest

from ntsim.abi.vmx_constants import RFLAGS_CF as CF
from ntsim.abi.vmx_constants import RFLAGS_ZF as ZF
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.exceptions import GENERAL_PROTECTION, INVALID_OPCODE, ProcessorException
from ntsim.hw.vmx.results import (
    ARITHMETIC_FLAGS,
    VmFailInvalid,
    VmFailValid,
    VmSucceed,
    WouldExit,
    intrinsic_status,
)
from ntsim.hw.vmx.state import VmxMode
from ntsim.hw.vmx.vmcs import NO_POINTER

GUEST_RIP, GUEST_CS_SELECTOR, TSC_OFFSET, EXIT_REASON = 0x681E, 0x0802, 0x2010, 0x4402
INSTRUCTION_ERROR, PIN_CONTROLS = 0x4400, 0x4000


def raises(vector):
    return pytest.raises(ProcessorException, check=lambda e: e.vector == vector)


def error_of(result):
    assert isinstance(result, VmFailValid), result
    return result.error


class TestVmxon:
    def test_it_enters_root_operation_without_a_current_vmcs(self, rig):
        region = rig.page()
        assert rig.unit.vmxon(region) == VmSucceed()
        assert rig.unit.mode is VmxMode.ROOT
        assert rig.unit.vmxon_pointer == region
        assert rig.unit.current_pointer == NO_POINTER

    def test_cr4_vmxe_clear_is_an_invalid_opcode(self, rig):
        rig.processor.cr4 &= ~(1 << 13)
        with raises(INVALID_OPCODE):
            rig.unit.vmxon(rig.page())

    @pytest.mark.parametrize("change", ["cr0.pe", "rflags.vm", "cs.l"])
    def test_other_modes_are_an_invalid_opcode(self, rig, change):
        if change == "cr0.pe":
            rig.processor.cr0 &= ~1
        elif change == "rflags.vm":
            rig.processor.rflags |= 1 << 17
        else:
            rig.processor.cs.access_rights = 0xC09B
        with raises(INVALID_OPCODE):
            rig.unit.vmxon(rig.page())

    def test_cr0_ne_clear_is_general_protection(self, rig):
        rig.processor.cr0 &= ~(1 << 5)
        with raises(GENERAL_PROTECTION):
            rig.unit.vmxon(rig.page())

    @pytest.mark.parametrize("cpl", [1, 2, 3])
    def test_outside_ring_0_it_is_general_protection(self, rig, cpl):
        rig.processor.cpl = cpl
        with raises(GENERAL_PROTECTION):
            rig.unit.vmxon(rig.page())

    @pytest.mark.parametrize("control", [0, 1, 4])
    def test_firmware_that_locks_vmx_out_makes_it_general_protection(self, make_rig, control):
        rig = make_rig(model=CpuModel(name="locked out", msrs={0x3A: control}))
        with raises(GENERAL_PROTECTION):
            rig.unit.vmxon(rig.page())

    @pytest.mark.parametrize("pointer", [0x10_0800, 1 << 39, 0x10_0001])
    def test_an_unaligned_or_too_wide_pointer_fails(self, rig, pointer):
        assert isinstance(rig.unit.vmxon(pointer), VmFailInvalid)
        assert rig.processor.rflags & ARITHMETIC_FLAGS == CF

    @pytest.mark.parametrize("word", [5, 0x8000_0004])
    def test_another_revision_identifier_or_a_shadow_bit_fails(self, rig, word):
        assert isinstance(rig.unit.vmxon(rig.page(word)), VmFailInvalid)
        assert not rig.unit.in_operation

    def test_a_pointer_to_no_memory_fails(self, rig):
        assert isinstance(rig.unit.vmxon(0x4000_0000), VmFailInvalid)

    def test_a_second_one_fails_with_error_15(self, rig):
        unit = rig.with_vmcs()
        assert error_of(unit.vmxon(rig.page())) == 15
        assert unit.vmread(INSTRUCTION_ERROR).value == 15

    def test_a_second_one_without_a_current_vmcs_has_nowhere_to_say_so(self, rig):
        assert isinstance(rig.in_root().vmxon(rig.page()), VmFailInvalid)


class TestVmxoff:
    def test_it_leaves_vmx_operation(self, rig):
        unit = rig.in_root()
        assert unit.vmxoff() == VmSucceed()
        assert unit.mode is VmxMode.OFF

    def test_outside_vmx_operation_it_is_an_invalid_opcode(self, rig):
        with raises(INVALID_OPCODE):
            rig.unit.vmxoff()

    def test_vmxon_works_again_afterwards(self, rig):
        unit = rig.in_root()
        unit.vmxoff()
        assert unit.vmxon(rig.page()) == VmSucceed()


class TestVmclear:
    @pytest.mark.parametrize("pointer", [0x10_0800, 1 << 39])
    def test_a_bad_address_is_error_2(self, rig, pointer):
        assert error_of(rig.with_vmcs().vmclear(pointer)) == 2

    def test_the_vmxon_pointer_is_error_3(self, rig):
        unit = rig.with_vmcs()
        assert error_of(unit.vmclear(unit.vmxon_pointer)) == 3

    def test_of_the_current_vmcs_leaves_none(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmclear(unit.current_pointer) == VmSucceed()
        assert unit.current_pointer == NO_POINTER

    def test_of_another_vmcs_keeps_the_current_one(self, rig):
        unit = rig.with_vmcs()
        current = unit.current_pointer
        unit.vmclear(rig.page())
        assert unit.current_pointer == current

    def test_it_looks_at_no_revision_identifier(self, rig):
        assert rig.in_root().vmclear(rig.page(0x1234)) == VmSucceed()

    def test_without_a_current_vmcs_failure_is_invalid(self, rig):
        assert isinstance(rig.in_root().vmclear(1), VmFailInvalid)


class TestVmptrld:
    @pytest.mark.parametrize("pointer", [0x10_0800, 1 << 39])
    def test_a_bad_address_is_error_9(self, rig, pointer):
        assert error_of(rig.with_vmcs().vmptrld(pointer)) == 9

    def test_the_vmxon_pointer_is_error_10(self, rig):
        unit = rig.with_vmcs()
        assert error_of(unit.vmptrld(unit.vmxon_pointer)) == 10

    @pytest.mark.parametrize("word", [5, 0x8000_0005])
    def test_another_revision_is_error_11(self, rig, word):
        unit = rig.with_vmcs()
        current = unit.current_pointer
        assert error_of(unit.vmptrld(rig.page(word))) == 11
        assert unit.current_pointer == current

    def test_fields_are_whatever_the_region_held(self, rig):
        unit = rig.in_root()
        pa = rig.page(fill=0xCD)
        unit.vmptrld(pa)
        assert unit.vmread(GUEST_RIP).value == 0xCDCD_CDCD_CDCD_CDCD
        assert unit.vmread(GUEST_CS_SELECTOR).value == 0xCDCD

    def test_vmclear_does_not_initialise_fields(self, rig):
        unit = rig.in_root()
        pa = rig.page(fill=0xCD)
        unit.vmclear(pa)
        unit.vmptrld(pa)
        assert unit.vmread(GUEST_RIP).value == 0xCDCD_CDCD_CDCD_CDCD

    def test_values_survive_vmclear_and_another_load(self, rig):
        unit = rig.with_vmcs()
        pa = unit.current_pointer
        unit.vmwrite(GUEST_RIP, 0x1122_3344_5566_7788)
        unit.vmclear(pa)
        unit.vmptrld(pa)
        assert unit.vmread(GUEST_RIP).value == 0x1122_3344_5566_7788


class TestVmptrst:
    def test_it_stores_the_current_pointer(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmptrst() == VmSucceed(unit.current_pointer)

    def test_without_a_current_vmcs_all_bits_are_set(self, rig):
        assert rig.in_root().vmptrst().value == NO_POINTER


class TestVmreadAndVmwrite:
    @pytest.mark.parametrize("encoding", [0x7FFE, 0x1 << 32 | GUEST_RIP, 0x0801, GUEST_RIP + 1])
    def test_an_unsupported_component_is_error_12(self, rig, encoding):
        unit = rig.with_vmcs()
        assert error_of(unit.vmread(encoding)) == 12
        assert error_of(unit.vmwrite(encoding, 0)) == 12

    @pytest.mark.parametrize("field", [0x2016, 0x2032, 0x2012])
    def test_a_field_of_a_control_that_the_processor_lacks_is_error_12(self, rig, field):
        assert error_of(rig.with_vmcs().vmread(field)) == 12

    def test_without_a_current_vmcs_both_fail_invalid(self, rig):
        unit = rig.in_root()
        assert isinstance(unit.vmread(GUEST_RIP), VmFailInvalid)
        assert isinstance(unit.vmwrite(GUEST_RIP, 0), VmFailInvalid)

    @pytest.mark.parametrize(
        ("field", "bits"), [(GUEST_CS_SELECTOR, 16), (PIN_CONTROLS, 32), (TSC_OFFSET, 64)]
    )
    def test_a_write_keeps_the_bits_that_the_field_has(self, rig, field, bits):
        unit = rig.with_vmcs()
        unit.vmwrite(field, 0xFEDC_BA98_7654_3210)
        assert unit.vmread(field).value == 0xFEDC_BA98_7654_3210 & (1 << bits) - 1

    def test_the_high_encoding_is_the_upper_half_alone(self, rig):
        unit = rig.with_vmcs()
        unit.vmwrite(TSC_OFFSET, 0x1111_2222_3333_4444)
        assert unit.vmread(TSC_OFFSET + 1).value == 0x1111_2222
        unit.vmwrite(TSC_OFFSET + 1, 0xFFFF_FFFF_5555_6666)
        assert unit.vmread(TSC_OFFSET).value == 0x5555_6666_3333_4444

    def test_exit_information_is_writable_with_misc_bit_29(self, rig):
        unit = rig.with_vmcs()
        assert unit.vmwrite(EXIT_REASON, 7) == VmSucceed()
        assert unit.vmread(EXIT_REASON).value == 7

    def test_exit_information_is_read_only_without_misc_bit_29(self, make_rig):
        model = CpuModel(name="older", msrs={0x485: 0x600401E7 & ~(1 << 29)})
        assert error_of(make_rig(model=model).with_vmcs().vmwrite(EXIT_REASON, 7)) == 13


class TestFlagsAndResults:
    def test_success_clears_the_six_arithmetic_flags(self, rig):
        unit = rig.in_root()
        rig.processor.rflags |= ARITHMETIC_FLAGS | 1 << 9
        unit.vmptrst()
        assert rig.processor.rflags == 0x202

    def test_failure_with_a_current_vmcs_sets_zf_alone_and_writes_the_number(self, rig):
        unit = rig.with_vmcs()
        rig.processor.rflags |= ARITHMETIC_FLAGS
        unit.vmclear(1)
        assert rig.processor.rflags & ARITHMETIC_FLAGS == ZF
        assert unit.vmread(INSTRUCTION_ERROR).value == 2

    def test_failure_without_one_sets_cf_alone(self, rig):
        unit = rig.in_root()
        rig.processor.rflags |= ARITHMETIC_FLAGS
        unit.vmclear(1)
        assert rig.processor.rflags & ARITHMETIC_FLAGS == CF

    def test_intrinsics_return_0_1_and_2(self, rig):
        unit = rig.in_root()
        assert intrinsic_status(unit.vmptrst()) == 0
        assert intrinsic_status(unit.vmclear(1)) == 2
        unit = rig.unit
        unit.vmptrld(rig.page())
        assert intrinsic_status(unit.vmclear(1)) == 1


class TestVmlaunchAndVmresume:
    def test_outside_vmx_operation_they_are_an_invalid_opcode(self, rig):
        for instruction in (rig.unit.vmlaunch, rig.unit.vmresume):
            with raises(INVALID_OPCODE):
                instruction()

    def test_without_a_current_vmcs_they_fail_invalid(self, rig):
        unit = rig.in_root()
        assert isinstance(unit.vmlaunch(), VmFailInvalid)
        assert isinstance(unit.vmresume(), VmFailInvalid)

    def test_blocking_by_mov_ss_is_error_26(self, rig):
        unit = rig.with_vmcs()
        rig.processor.mov_ss_blocking = True
        assert error_of(unit.vmlaunch()) == 26

    def test_vmresume_of_a_clear_vmcs_is_error_5(self, rig):
        assert error_of(rig.with_vmcs().vmresume()) == 5

    def test_vmlaunch_with_zeroed_controls_is_error_7(self, rig):
        result = rig.with_vmcs().vmlaunch()
        assert error_of(result) == 7
        assert "PIN_BASED" in result.reason

    def test_a_region_of_poison_never_cleared_counts_as_launched(self, rig):
        unit = rig.in_root()
        unit.vmptrld(rig.page(fill=0xCD))
        assert error_of(unit.vmlaunch()) == 4


class TestVmcall:
    def test_outside_vmx_operation_it_is_an_invalid_opcode(self, rig):
        with raises(INVALID_OPCODE):
            rig.unit.vmcall()

    def test_in_root_operation_without_an_smm_monitor_it_is_error_1(self, rig):
        assert error_of(rig.with_vmcs().vmcall()) == 1


class TestInveptAndInvvpid:
    @pytest.mark.parametrize("kind", [0, 3, 1 << 32])
    def test_an_unsupported_type_is_error_28(self, rig, kind):
        assert error_of(rig.with_vmcs().invept(kind, 0)) == 28

    def test_a_single_context_needs_a_valid_eptp(self, rig):
        unit = rig.with_vmcs()
        assert error_of(unit.invept(1, 0)) == 28
        assert unit.invept(1, 0x1E) == VmSucceed()

    def test_all_contexts_need_none(self, rig):
        assert rig.with_vmcs().invept(2, 0) == VmSucceed()

    @pytest.mark.parametrize("kind", [0, 1, 3])
    def test_vpid_0_is_error_28(self, rig, kind):
        assert error_of(rig.with_vmcs().invvpid(kind, 0, 0)) == 28

    def test_a_non_canonical_address_is_error_28(self, rig):
        assert error_of(rig.with_vmcs().invvpid(0, 1, 1 << 47)) == 28

    def test_reserved_descriptor_bits_are_error_28(self, rig):
        assert error_of(rig.with_vmcs().invvpid(2, 1 << 16, 0)) == 28

    def test_type_4_is_error_28(self, rig):
        assert error_of(rig.with_vmcs().invvpid(4, 1, 0)) == 28


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("vmcall", (), 18),
        ("vmclear", (0x1000,), 19),
        ("vmlaunch", (), 20),
        ("vmptrld", (0x1000,), 21),
        ("vmptrst", (), 22),
        ("vmread", (0x681E,), 23),
        ("vmresume", (), 24),
        ("vmwrite", (0x681E, 0), 25),
        ("vmxoff", (), 26),
        ("vmxon", (0x1000,), 27),
        ("invept", (1, 0), 50),
        ("invvpid", (1, 0, 0), 53),
    ],
)
def test_in_non_root_operation_every_vmx_instruction_asks_for_its_exit(
    rig, name, arguments, reason
):
    unit = rig.with_vmcs()
    unit.mode = VmxMode.NON_ROOT
    rig.processor.cpl = 3
    result = getattr(unit, name)(*arguments)
    assert isinstance(result, WouldExit)
    assert result.reason == reason


@pytest.mark.parametrize("name", ["vmcall", "vmxoff", "vmlaunch", "vmptrst"])
def test_outside_ring_0_vmx_instructions_are_general_protection(rig, name):
    unit = rig.with_vmcs()
    rig.processor.cpl = 3
    with raises(GENERAL_PROTECTION):
        getattr(unit, name)()
