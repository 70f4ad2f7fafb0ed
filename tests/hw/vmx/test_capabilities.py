"""Capability MSRs decoded, and the processor model they come from."""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.hw import i7_6820hq as silicon
from ntsim.hw.cpu_model import DEFAULT, CpuModel, lookup
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.fields import supported_fields
from ntsim.hw.vmx.vmcs import VmcsDirectory


@pytest.fixture
def of_silicon():
    return VmxCapabilities.from_msrs(silicon.CAPABILITY_MSRS, 39)


def test_basic(of_silicon):
    assert (of_silicon.revision_id, of_silicon.region_size, of_silicon.memory_type) == (4, 1024, 6)
    assert of_silicon.reports_ins_outs
    assert not of_silicon.any_error_code


def test_misc(of_silicon):
    misc = of_silicon.misc
    assert (misc.preemption_timer_shift, misc.cr3_targets) == (7, 4)
    assert misc.recommended_msr_list_length == 512
    assert misc.vmwrite_any_field
    assert misc.injects_zero_length
    assert [misc.supports_activity(state) for state in range(5)] == [True] * 4 + [False]


def test_ept_and_vpid(of_silicon):
    ept = of_silicon.ept_vpid
    assert ept.execute_only
    assert ept.supports_walk(4)
    assert not ept.supports_walk(5)
    assert [ept.supports_memory_type(kind) for kind in range(8)] == [
        kind in (0, 6) for kind in range(8)
    ]
    assert ept.pages_2m
    assert ept.pages_1g
    assert ept.accessed_dirty
    assert [ept.invept_type(kind) for kind in range(4)] == [False, True, True, False]
    assert [ept.invvpid_type(kind) for kind in range(5)] == [True] * 4 + [False]


def test_true_controls_are_used_where_basic_says_so(of_silicon):
    assert of_silicon.primary.must_be_one == 0x0400_6172
    older = VmxCapabilities.from_msrs(
        silicon.CAPABILITY_MSRS | {0x480: silicon.CAPABILITY_MSRS[0x480] & ~(1 << 55)}, 39
    )
    assert older.primary.must_be_one == 0x0401_E172


def test_adjusting_controls_gives_an_allowed_value(of_silicon):
    for controls in (of_silicon.pin_based, of_silicon.primary, of_silicon.vm_exit):
        value = controls.adjust(0xFFFF_FFFF)
        assert not controls.missing(value)
        assert not controls.excess(value)


def test_canonical_addresses_and_pages(of_silicon):
    assert of_silicon.is_canonical(0x7FFF_FFFF_FFFF)
    assert of_silicon.is_canonical(0xFFFF_8000_0000_0000)
    assert not of_silicon.is_canonical(0x8000_0000_0000)
    assert of_silicon.is_page((1 << 39) - 0x1000)
    assert not of_silicon.is_page(1 << 39)
    assert not of_silicon.is_page(0x800)


def test_the_default_model_masks_nothing_away_that_controls_require():
    model = VmxCapabilities.from_msrs(DEFAULT.msrs, DEFAULT.physical_address_bits)
    for controls in (model.pin_based, model.primary, model.secondary, model.vm_exit):
        assert not controls.must_be_one & ~controls.may_be_one


@pytest.mark.parametrize("msr", sorted(silicon.CAPABILITY_MASKS))
def test_each_mask_takes_bits_that_silicon_has_and_says_why(msr):
    for mask in silicon.CAPABILITY_MASKS[msr]:
        assert mask.bits & silicon.CAPABILITY_MSRS[msr] == mask.bits, hex(msr)
        assert mask.reason


def test_the_list_of_masks_names_each_register_once_for_each_reason():
    listed = list(silicon.masks())
    assert ("CPUID.1:ECX", silicon.LEAF_1_ECX_MASKS[0]) in listed
    assert len(listed) == len({(register, mask.bits) for register, mask in listed})


def test_a_region_too_small_for_the_fields_is_a_configuration_error():
    msrs = dict(DEFAULT.msrs) | {0x480: 0x00DA_0100_0000_0004}
    with pytest.raises(ConfigurationError, match="480H"):
        VmcsDirectory(VmxCapabilities.from_msrs(msrs, 39))


def test_fields_of_masked_controls_do_not_exist():
    model = VmxCapabilities.from_msrs(DEFAULT.msrs, 39)
    fields = supported_fields(model)
    assert 0x482E not in fields  # preemption timer
    assert 0x681E in fields
    assert all(not encoding & 1 for encoding in fields)


class TestModel:
    def test_vendor_and_brand(self):
        _, ebx, ecx, edx = DEFAULT.leaf(0)
        name = b"".join(word.to_bytes(4, "little") for word in (ebx, edx, ecx))
        assert name == b"GenuineIntel"
        brand = b"".join(
            word.to_bytes(4, "little")
            for leaf in (0x8000_0002, 0x8000_0003, 0x8000_0004)
            for word in DEFAULT.leaf(leaf)
        )
        assert brand.rstrip(b"\0").decode() == "Intel(R) Core(TM) i7-6820HQ CPU @ 2.70GHz"

    def test_family_and_model_are_06_5eh(self):
        signature = DEFAULT.leaf(1)[0]
        model = signature >> 4 & 0xF | (signature >> 16 & 0xF) << 4
        assert (signature >> 8 & 0xF, model) == (6, 0x5E)

    def test_vmx_is_there_and_the_hypervisor_bit_is_not(self):
        ecx = DEFAULT.leaf(1)[2]
        assert ecx & 1 << 5
        assert not ecx & 1 << 31
        assert DEFAULT.has_vmx

    def test_what_the_engine_lacks_is_masked(self):
        ecx = DEFAULT.leaf(1)[2]
        assert not ecx & (1 << 12 | 1 << 22 | 1 << 26 | 1 << 28 | 1 << 30)
        assert not DEFAULT.leaf(7)[1] & (1 << 0 | 1 << 5 | 1 << 10)

    @pytest.mark.parametrize("processors", [1, 2, 3, 8, 64])
    def test_topology_counts_the_processors(self, processors):
        for number in range(processors):
            ebx = DEFAULT.leaf(1, processor=number, processors=processors)[1]
            assert ebx >> 24 == number
            core = DEFAULT.leaf(0xB, 1, processor=number, processors=processors)
            assert (core[1], core[3]) == (processors, number)
            assert number >> core[0] == 0

    def test_a_leaf_above_the_highest_answers_as_the_highest(self):
        assert DEFAULT.leaf(0x4000_0000) == DEFAULT.leaf(0x16)
        assert DEFAULT.leaf(0x17) == DEFAULT.leaf(0x16)
        assert DEFAULT.leaf(0x8000_0009) == DEFAULT.leaf(0x16)

    def test_physical_address_width_is_in_leaf_80000008(self):
        assert DEFAULT.leaf(0x8000_0008)[0] == 48 << 8 | 39
        wide = CpuModel(name="wide", physical_address_bits=46)
        assert wide.leaf(0x8000_0008)[0] == 48 << 8 | 46

    def test_without_a_name_it_is_the_built_in_model_with_what_is_given(self):
        locked_out = CpuModel(msrs={0x3A: 1})
        assert (locked_out.name, locked_out.msrs[0x3A]) == (DEFAULT.name, 1)
        assert locked_out.leaf(1) == DEFAULT.leaf(1)

    def test_given_leaves_and_msrs_win(self):
        model = CpuModel(name="mine", msrs={0x3A: 0}, cpuid={1: (1, 2, 3, 4), (4, 2): (5, 6, 7, 8)})
        assert model.msrs[0x3A] == 0
        assert model.msrs[0x480] == DEFAULT.msrs[0x480]
        assert model.leaf(1) == (1, 2, 3, 4)
        assert not model.has_vmx
        assert model.leaf(4, 2) == (5, 6, 7, 8)
        assert model.leaf(4, 1) == DEFAULT.leaf(4, 1)

    def test_firmware_locks_feature_control_with_vmx_on(self):
        assert DEFAULT.msrs[0x3A] == 5

    def test_lookup_knows_the_default_and_lists_it_for_other_names(self):
        assert lookup("i7-6820HQ") is DEFAULT
        with pytest.raises(ConfigurationError, match="i7-6820HQ"):
            lookup("486")

    @pytest.mark.parametrize(
        "arguments",
        [
            {"physical_address_bits": 60},
            {"msrs": {0x10: 1 << 64}},
            {"msrs": {1 << 32: 0}},
            {"cpuid": {1: (1 << 32, 0, 0, 0)}},
            {"cpuid": {1: (0, 0, 0)}},
        ],
    )
    def test_values_that_fit_no_register_are_refused(self, arguments):
        with pytest.raises(ConfigurationError):
            CpuModel(name="broken", **arguments)
