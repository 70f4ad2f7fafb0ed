"""The life of a VMCS: what is on the chip, what is in memory, and two processors at once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ntsim.abi import vmx_constants as f
from ntsim.hw.vmx.events import (
    VmcsActiveElsewhere,
    VmcsLeftActive,
    VmcsNeverCleared,
    VmcsRegionWritten,
)
from ntsim.hw.vmx.results import VmFailInvalid, VmFailValid, VmSucceed
from ntsim.hw.vmx.vmcs import NO_POINTER

FIELDS = (f.GUEST_RIP, f.GUEST_CS_SELECTOR, f.TSC_OFFSET, f.EXCEPTION_BITMAP)


def of_type(events, kind):
    return [event for event in events if isinstance(event, kind)]


class TestRegion:
    def test_while_active_the_chip_is_the_truth_and_memory_is_stale(self, rig):
        unit = rig.with_vmcs()
        before = rig.ram.read(unit.current_pointer, 0x400)
        unit.vmwrite(f.GUEST_RIP, 0x1234)
        assert rig.ram.read(unit.current_pointer, 0x400) == before

    def test_a_software_write_into_an_active_region_is_noticed(self, rig):
        unit = rig.with_vmcs()
        pa = unit.current_pointer
        rig.ram.write(pa + 0x20, b"\xff")
        unit.vmclear(pa)
        (event,) = of_type(rig.events, VmcsRegionWritten)
        assert (event.vmcs, event.offset) == (pa, 0x20)

    def test_the_abort_indicator_is_softwares_to_write(self, rig):
        unit = rig.with_vmcs()
        rig.ram.write(unit.current_pointer + 4, b"\x01")
        unit.vmclear(unit.current_pointer)
        assert not of_type(rig.events, VmcsRegionWritten)

    def test_everything_fits_the_size_that_ia32_vmx_basic_gives(self, rig):
        assert rig.directory.layout.size <= rig.capabilities.region_size == 0x400

    def test_a_dump_writes_back_and_the_vmcs_stays_active(self, rig):
        unit = rig.with_vmcs()
        unit.vmwrite(f.GUEST_RIP, 0x1234_5678_9ABC_DEF0)
        unit.write_back()
        region = rig.ram.read(unit.current_pointer, 0x400)
        assert (0x1234_5678_9ABC_DEF0).to_bytes(8, "little") in region
        assert unit.vmread(f.GUEST_RIP).value == 0x1234_5678_9ABC_DEF0

    def test_vmptrld_without_a_vmclear_is_reported(self, rig):
        unit = rig.in_root()
        unit.vmptrld(rig.page())
        assert of_type(rig.events, VmcsNeverCleared)

    def test_vmxoff_with_an_active_vmcs_is_reported_and_its_data_kept(self, rig):
        unit = rig.with_vmcs()
        pa = unit.current_pointer
        unit.vmwrite(f.GUEST_RIP, 0x1234)
        unit.vmxoff()
        assert [event.vmcs for event in of_type(rig.events, VmcsLeftActive)] == [pa]
        unit.vmxon(rig.page())
        unit.vmptrld(pa)
        assert unit.vmread(f.GUEST_RIP).value == 0x1234

    def test_written_fields_are_known_until_vmclear(self, rig):
        unit = rig.with_vmcs()
        pa = unit.current_pointer
        unit.vmwrite(f.GUEST_RIP, 1)
        assert unit.current.written == {f.GUEST_RIP}
        unit.vmclear(pa)
        unit.vmptrld(pa)
        assert unit.current.written == set()


class TestTwoProcessors:
    def test_a_vmcs_loaded_on_a_second_processor_is_reported(self, make_rig):
        rig = make_rig(processors=2)
        first, second = rig.with_vmcs(0), rig.in_root(1)
        pa = first.current_pointer
        second.vmptrld(pa)
        (event,) = of_type(rig.events, VmcsActiveElsewhere)
        assert (event.processor, event.active_on, event.instruction) == (1, 0, "VMPTRLD")

    def test_each_then_has_a_copy_of_its_own(self, make_rig):
        rig = make_rig(processors=2)
        first, second = rig.with_vmcs(0), rig.in_root(1)
        first.vmwrite(f.GUEST_RIP, 0x1234)
        second.vmptrld(first.current_pointer)
        assert second.vmread(f.GUEST_RIP).value == 0
        assert first.vmread(f.GUEST_RIP).value == 0x1234

    def test_after_a_vmclear_it_may_move(self, make_rig):
        rig = make_rig(processors=2)
        first, second = rig.with_vmcs(0), rig.in_root(1)
        pa = first.current_pointer
        first.vmwrite(f.GUEST_RIP, 0x1234)
        first.vmclear(pa)
        second.vmptrld(pa)
        assert second.vmread(f.GUEST_RIP).value == 0x1234
        assert not of_type(rig.events, VmcsActiveElsewhere)


class VmcsLife(RuleBasedStateMachine):
    """Two processors, three regions; a model of dictionaries beside the machine.

    The model keeps to what the SDM defines: a region is used on one processor at a time.
    """

    processors = st.integers(0, 1)
    regions = st.integers(0, 2)
    values = st.integers(0, 2**64 - 1)

    def __init__(self, make_rig):
        super().__init__()
        self.rig = make_rig(processors=2)
        self.pages = [self.rig.page() for _ in range(3)]
        self.vmxon = [self.rig.page() for _ in range(2)]
        self.on = [False, False]
        self.active: list[set[int]] = [set(), set()]
        self.current: list[int | None] = [None, None]
        self.fields: list[dict[int, int]] = [{}, {}, {}]

    @rule(cpu=processors)
    def enter(self, cpu):
        result = self.rig.units[cpu].vmxon(self.vmxon[cpu])
        if not self.on[cpu]:
            assert result == VmSucceed()
            self.on[cpu] = True
        else:
            current = self.current[cpu] is not None
            assert isinstance(result, VmFailValid if current else VmFailInvalid)

    @precondition(lambda self: any(self.on))
    @rule(cpu=processors)
    def leave(self, cpu):
        if self.on[cpu]:
            assert self.rig.units[cpu].vmxoff() == VmSucceed()
            self.on[cpu], self.active[cpu], self.current[cpu] = False, set(), None

    @rule(cpu=processors, region=regions)
    def clear(self, cpu, region):
        if self.on[cpu] and region not in self.active[1 - cpu]:
            assert self.rig.units[cpu].vmclear(self.pages[region]) == VmSucceed()
            self.active[cpu].discard(region)
            if self.current[cpu] == region:
                self.current[cpu] = None

    @rule(cpu=processors, region=regions)
    def load(self, cpu, region):
        if self.on[cpu] and region not in self.active[1 - cpu]:
            assert self.rig.units[cpu].vmptrld(self.pages[region]) == VmSucceed()
            self.active[cpu].add(region)
            self.current[cpu] = region

    @rule(cpu=processors, field=st.sampled_from(FIELDS), value=values)
    def write(self, cpu, field, value):
        if self.on[cpu]:
            result = self.rig.units[cpu].vmwrite(field, value)
            if self.current[cpu] is None:
                assert isinstance(result, VmFailInvalid)
            else:
                assert result == VmSucceed()
                mask = (1 << f.FIELDS[field].bits) - 1
                self.fields[self.current[cpu]][field] = value & mask

    @rule(cpu=processors, field=st.sampled_from(FIELDS))
    def read(self, cpu, field):
        if self.on[cpu]:
            result = self.rig.units[cpu].vmread(field)
            if self.current[cpu] is None:
                assert isinstance(result, VmFailInvalid)
            else:
                assert result.value == self.fields[self.current[cpu]].get(field, 0)

    @invariant()
    def pointers_agree(self):
        for cpu, unit in enumerate(self.rig.units):
            region = self.current[cpu]
            wanted = NO_POINTER if region is None else self.pages[region]
            assert unit.current_pointer == wanted
            assert set(unit.active) == {self.pages[r] for r in self.active[cpu]}
            for region in self.active[cpu]:
                assert self.rig.directory.holders(self.pages[region]) == (cpu,)

    @invariant()
    def nothing_is_active_twice(self):
        assert not of_type(self.rig.events, VmcsActiveElsewhere)


def test_a_vmcs_lives_as_the_model_says_on_two_processors(make_rig):
    run_state_machine_as_test(
        lambda: VmcsLife(make_rig),
        settings=settings(max_examples=40, stateful_step_count=30, deadline=None),
    )
