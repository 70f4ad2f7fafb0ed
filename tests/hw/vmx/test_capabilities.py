"""Capability MSRs decoded, and the processor model they come from."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.errors import ConfigurationError
from ntsim.hw import silicon
from ntsim.hw.cpu_model import DEFAULT, CpuModel, lookup
from ntsim.hw.silicon.processor import performance_counters
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.fields import supported_fields
from ntsim.hw.vmx.vmcs import VmcsDirectory

SKYLAKE = silicon.DEFAULT
ALL = list(silicon.PROCESSORS.values())
CONTROL_MSRS = (0x481, 0x482, 0x483, 0x484, 0x48B, 0x48D, 0x48E, 0x48F, 0x490)


def each(of):
    return pytest.mark.parametrize("processor", of, ids=lambda one: one.name)


@pytest.fixture
def of_silicon():
    return VmxCapabilities.from_msrs(SKYLAKE.capability_msrs, 39)


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
        dict(SKYLAKE.capability_msrs) | {0x480: SKYLAKE.capability_msrs[0x480] & ~(1 << 55)}, 39
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


@each(ALL)
def test_no_model_masks_away_what_controls_require(processor):
    model = VmxCapabilities.of_model(lookup(processor.name))
    for controls in (
        model.pin_based,
        model.primary,
        model.secondary,
        model.vm_exit,
        model.vm_entry,
    ):
        assert not controls.must_be_one & ~controls.may_be_one


@each(ALL)
def test_each_mask_takes_bits_that_silicon_has_and_says_why(processor):
    for register in processor.registers():
        taken = 0
        for mask in processor.masks(register):
            assert mask.bits
            assert not mask.bits & taken, f"{register}: {mask.reason} is masked twice"
            taken |= mask.bits
            assert ": " in mask.reason
        value = lookup(processor.name).msrs.get(register, 0)
        if register in CONTROL_MSRS:
            assert value == processor.capability_msrs[register] & ~taken


@each(ALL)
def test_a_limit_names_what_it_takes_from_this_processor_alone(processor):
    everything = " ".join(m.reason for r in processor.registers() for m in processor.masks(r))
    assert ("mode-based execute" in everything) == (processor.name == "i7-1065G7")
    assert ("ENCLS" in everything) == (processor.name != "Xeon-W3670")


@each(ALL)
def test_the_old_and_the_true_control_msrs_agree_on_what_may_be_one(processor):
    msrs = lookup(processor.name).msrs
    for plain, true in ((0x481, 0x48D), (0x482, 0x48E), (0x483, 0x48F), (0x484, 0x490)):
        assert msrs[plain] >> 32 == msrs[true] >> 32
        assert not msrs[true] & ~msrs[plain] & 0xFFFF_FFFF  # fewer bits are required


class TestGenerations:
    """Westmere, Skylake and Ice Lake differ as their dumps do (InstLatx64/InstLatx64)."""

    def test_revision_identifiers(self):
        revisions = {one.name: lookup(one.name).msrs[0x480] & 0x7FFF_FFFF for one in ALL}
        assert revisions == {"i7-6820HQ": 4, "Xeon-W3670": 0xF, "i7-1065G7": 0x13}

    @pytest.mark.parametrize(
        ("name", "bit", "silicon_has"),
        [
            ("Xeon-W3670", 7, True),  # unrestricted guest
            ("Xeon-W3670", 12, False),  # INVPCID
            ("Xeon-W3670", 13, False),  # VM functions
            ("Xeon-W3670", 14, False),  # VMCS shadowing
            ("i7-6820HQ", 13, True),
            ("i7-6820HQ", 14, True),
            ("i7-6820HQ", 9, False),  # virtual-interrupt delivery
            ("i7-6820HQ", 22, False),  # mode-based execute control
            ("i7-6820HQ", 25, False),  # TSC scaling
            ("i7-1065G7", 9, True),
            ("i7-1065G7", 14, False),
            ("i7-1065G7", 22, True),
            ("i7-1065G7", 25, True),
        ],
    )
    def test_secondary_controls_of_silicon(self, name, bit, silicon_has):
        secondary = silicon.silicon_of(name).capability_msrs[0x48B] >> 32
        assert bool(secondary >> bit & 1) == silicon_has

    def test_westmere_refuses_writes_to_exit_information(self):
        misc = VmxCapabilities.of_model(lookup("Xeon-W3670")).misc
        assert not misc.vmwrite_any_field
        assert not misc.injects_zero_length

    def test_westmere_has_no_accessed_and_dirty_flags(self):
        msrs = silicon.silicon_of("Xeon-W3670").capability_msrs
        assert not VmxCapabilities.from_msrs(msrs, 36).ept_vpid.accessed_dirty

    def test_a_clock_ticks_at_the_processors_frequency(self):
        assert [lookup(one.name).tsc_hz for one in ALL] == [
            2_700_000_000,
            3_200_000_000,
            1_497_600_000,
        ]

    def test_performance_counters_follow_from_leaf_a(self):
        assert [performance_counters(one.performance_monitoring) for one in ALL] == [
            0x7_0000_000F,
            0x7_0000_000F,
            0xF_0000_00FF,
        ]


def test_a_region_too_small_for_the_fields_is_a_configuration_error():
    msrs = dict(DEFAULT.msrs) | {0x480: 0x00DA_0100_0000_0004}
    with pytest.raises(ConfigurationError, match="480H"):
        VmcsDirectory(VmxCapabilities.from_msrs(msrs, 39))


def test_fields_of_masked_controls_do_not_exist():
    model = VmxCapabilities.from_msrs(DEFAULT.msrs, 39)
    fields = supported_fields(model)
    assert f.VIRTUAL_APIC_PAGE_ADDR not in fields
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
        assert not DEFAULT.leaf(7)[1] & (1 << 0 | 1 << 5)

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

    def test_lookup_knows_the_names_in_any_case_and_lists_them_for_others(self):
        assert lookup("i7-6820HQ") is lookup("I7-6820hq") is DEFAULT
        assert lookup("xeon-w3670").name == "Xeon-W3670"
        with pytest.raises(ConfigurationError, match="i7-6820HQ, Xeon-W3670, i7-1065G7"):
            lookup("486")

    def test_a_model_of_ones_own_starts_from_any_built_in_one(self):
        mine = CpuModel(name="mine", based_on="Xeon-W3670", msrs={0x3A: 0})
        assert (mine.physical_address_bits, mine.msrs[0x3A], mine.leaf(1)[0]) == (36, 0, 0x206C2)
        assert mine.leaf(0x16) == mine.leaf(0xB)  # above the highest leaf

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


class TestControlsOfAnotherProcessor:
    """A driver that sets a bit its CPU lacks gets error 7; the message says which, and why."""

    def entry(self, make_rig, name, field, bits):
        rig = make_rig(model=lookup(name))
        unit = rig.with_vmcs()
        fields = {
            f.PIN_BASED_VM_EXEC_CONTROL: rig.capabilities.pin_based.adjust(0),
            f.CPU_BASED_VM_EXEC_CONTROL: rig.capabilities.primary.adjust(
                f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
            ),
            f.SECONDARY_VM_EXEC_CONTROL: 0,
        }
        for encoding, value in fields.items():
            unit.vmwrite(encoding, value | (bits if encoding == field else 0))
        return unit.vmlaunch()

    @pytest.mark.parametrize(
        ("name", "bits", "says"),
        [
            ("Xeon-W3670", f.SECONDARY_ENABLE_INVPCID, "bit 12 (ENABLE_INVPCID) must be 0"),
            ("Xeon-W3670", f.SECONDARY_ENABLE_VM_FUNCTIONS, "bit 13 (ENABLE_VM_FUNCTIONS)"),
            ("i7-6820HQ", f.SECONDARY_USE_TSC_SCALING, "bit 25 (USE_TSC_SCALING) must be 0"),
            ("i7-6820HQ", f.SECONDARY_ENABLE_XSAVES, "XSAVES/XRSTORS: the engine decodes neither"),
        ],
    )
    def test_secondary(self, make_rig, name, bits, says):
        result = self.entry(make_rig, name, f.SECONDARY_VM_EXEC_CONTROL, bits)
        assert result.error == 7
        assert says in result.reason

    def test_a_bit_that_silicon_lacks_too_has_no_reason_of_ntsims(self, make_rig):
        bits = f.SECONDARY_USE_TSC_SCALING
        result = self.entry(make_rig, "i7-6820HQ", f.SECONDARY_VM_EXEC_CONTROL, bits)
        assert "this processor lacks it; accepted" in result.reason

    def test_a_given_capability_msr_is_the_callers_own(self):
        model = CpuModel(msrs={0x48B: 0x1 << 32})
        assert VmxCapabilities.of_model(model).secondary.withheld == ()
