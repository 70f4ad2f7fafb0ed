"""VMCSs on several processors, as a state machine with a model of dictionaries beside it.

The model says what silicon does where the SDM defines it. Where it does not (a VMCS active on two
processors, a region written while active, VMXOFF with a VMCS active) it says what the documentation
of `ntsim.hw.vmx.vmcs` promises, and that the mistake is reported.
Source: SDM 3, "Software Use of the VMCS and Related Structures", "VM-Entry" (launch state).
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
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
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.results import Entered, VmFailInvalid, VmFailValid, VmSucceed
from ntsim.hw.vmx.vmcs import NO_POINTER
from tests.hw.vmx.conftest import valid_fields

FIELDS = (f.GUEST_RSP, f.TSC_OFFSET, f.EXCEPTION_BITMAP, f.GUEST_IA32_DEBUGCTL, f.CR0_READ_SHADOW)
PROCESSORS, REGIONS = 3, 4
WATCHED = (VmcsActiveElsewhere, VmcsLeftActive, VmcsNeverCleared, VmcsRegionWritten)
_FIRST_FIELD, _LAUNCH = 16, 8


@dataclass
class Copy:
    """What a processor, or a region in memory, has of a VMCS."""

    fields: dict[int, int] = field(default_factory=dict)
    launched: bool = False
    session: tuple[int, int] = (0, 0)
    cleared: bool = False
    valid: bool = False

    def copy(self):
        return Copy(dict(self.fields), self.launched, self.session, self.cleared, self.valid)


@dataclass
class Cpu:
    on: bool = False
    count: int = 0
    current: int | None = None
    active: dict[int, Copy] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)


class VmcsLife(RuleBasedStateMachine):
    """Three processors, four regions, one of them full of pool poison."""

    processors = st.integers(0, PROCESSORS - 1)
    regions = st.integers(0, REGIONS - 1)
    values = st.integers(0, 2**64 - 1)
    fields = st.sampled_from(FIELDS)

    def __init__(self, make_rig):
        super().__init__()
        self.rig = make_rig(processors=PROCESSORS)
        self.units = self.rig.units
        self.vmxon = [self.rig.page() for _ in range(PROCESSORS)]
        self.cpus = [Cpu() for _ in range(PROCESSORS)]
        self.expected = []
        self.memory = [Copy() for _ in range(REGIONS)]
        layout = self.rig.directory.layout
        places, at = {}, _FIRST_FIELD
        for encoding in layout.encodings:
            places[encoding] = at
            at += f.FIELDS[encoding].bits // 8
        self.places, self.masks = places, layout.masks

    @initialize(poison=st.booleans())
    def regions_of(self, poison):
        self.pages = [self.rig.page() for _ in range(REGIONS - 1)]
        self.pages.append(self.rig.page(fill=0xCD if poison else 0))
        if poison:
            fields = {e: 0xCDCD_CDCD_CDCD_CDCD & self.masks[e] for e in self.masks}
            self.memory[-1] = Copy(fields, launched=True, session=(0xCDCDCD, 0xCD))

        for cpu in range(PROCESSORS):
            self.enter_operation(cpu)

    # VMX operation

    @rule(cpu=processors)
    def enter_operation(self, cpu):
        result, model = self.units[cpu].vmxon(self.vmxon[cpu]), self.cpus[cpu]
        if model.on:
            self.failed(cpu, result, 15)
            return
        assert result == VmSucceed()
        model.on, model.count = True, model.count + 1

    @rule(cpu=processors)
    def leave_operation(self, cpu):
        model = self.cpus[cpu]
        if not model.on:
            return
        for region in list(model.active):
            self.expected.append((VmcsLeftActive, cpu, region))
            self.written_back(cpu, region)
        assert self.units[cpu].vmxoff() == VmSucceed()
        model.on, model.current = False, None

    # Pointers

    @rule(cpu=processors, region=regions)
    def clear(self, cpu, region):
        model = self.cpus[cpu]
        if not model.on:
            return
        self.elsewhere(cpu, region)
        if region in model.active:
            copy = model.active[region]
            copy.launched, copy.session = False, (0, 0)
            self.written_back(cpu, region)
        else:
            memory = self.memory[region]
            memory.launched, memory.session, memory.cleared = False, (0, 0), True
            for other in self.cpus:
                if region in other.active:
                    self.touched(other, region, launch=True)
        if model.current == region:
            model.current = None
        assert self.units[cpu].vmclear(self.pages[region]) == VmSucceed()

    @rule(cpu=processors, region=regions)
    def load(self, cpu, region):
        model = self.cpus[cpu]
        if not model.on:
            return
        if region not in model.active:
            self.elsewhere(cpu, region)
            copy = model.active[region] = self.memory[region].copy()
            if not copy.cleared:
                self.expected.append((VmcsNeverCleared, cpu, region))
        model.current = region
        assert self.units[cpu].vmptrld(self.pages[region]) == VmSucceed()

    @rule(cpu=processors, offset=st.sampled_from([1, 0x800, 1 << 39]))
    def bad_pointers(self, cpu, offset):
        if self.cpus[cpu].on:
            page = self.pages[0] + offset
            self.failed(cpu, self.units[cpu].vmclear(page), f.VMX_ERROR_VMCLEAR_INVALID_ADDRESS)
            self.failed(cpu, self.units[cpu].vmptrld(page), f.VMX_ERROR_VMPTRLD_INVALID_ADDRESS)

    @rule(cpu=processors)
    def the_vmxon_region(self, cpu):
        if self.cpus[cpu].on:
            page = self.vmxon[cpu]
            self.failed(cpu, self.units[cpu].vmptrld(page), f.VMX_ERROR_VMPTRLD_VMXON_POINTER)
            self.failed(cpu, self.units[cpu].vmclear(page), f.VMX_ERROR_VMCLEAR_VMXON_POINTER)

    # Fields

    @rule(cpu=processors, field=fields, value=values)
    def write(self, cpu, field, value):
        model = self.cpus[cpu]
        if model.on:
            result = self.units[cpu].vmwrite(field, value)
            if model.current is None:
                assert isinstance(result, VmFailInvalid)
            else:
                assert result == VmSucceed()
                copy = model.active[model.current]
                copy.fields[field] = value & self.masks[field]
                copy.valid = copy.valid and field == f.GUEST_RSP

    @rule(cpu=processors)
    def write_what_can_be_entered(self, cpu):
        model, unit = self.cpus[cpu], self.units[cpu]
        if model.current is None:
            return
        fields = dict.fromkeys(self.masks, 0)
        fields |= valid_fields(self.rig.capabilities, unit.processor, 0x5000)
        for encoding, value in fields.items():
            assert unit.vmwrite(encoding, value) == VmSucceed()
        copy = model.active[model.current]
        copy.fields = {e: v & self.masks[e] for e, v in fields.items()}
        copy.valid = True

    @rule(cpu=processors, field=fields)
    def write_an_upper_half(self, cpu, field):
        model = self.cpus[cpu]
        if model.current is None or f.FIELDS[field].bits != 64 or field >> 13 & 3 != 1:
            return
        assert self.units[cpu].vmwrite(field | 1, 0xFFFF_FFFF_1234_5678) == VmSucceed()
        copy = model.active[model.current]
        copy.fields[field] = 0x1234_5678 << 32 | copy.fields.get(field, 0) & 0xFFFF_FFFF
        copy.valid = False

    @rule(region=regions, field=fields, value=values)
    def software_writes_the_region(self, region, field, value):
        size = f.FIELDS[field].bits // 8
        raw = (value & self.masks[field]).to_bytes(size, "little")
        place = self.pages[region] + self.places[field]
        if self.rig.ram.read(place, size) == raw:
            return
        self.rig.ram.write(place, raw)
        memory = self.memory[region]
        memory.fields[field], memory.valid = value & self.masks[field], False
        for model in self.cpus:
            if region in model.active:
                self.touched(model, region)

    # VM entries

    @rule(cpu=processors, resume=st.booleans())
    def enter_a_guest(self, cpu, resume):
        model, unit = self.cpus[cpu], self.units[cpu]
        if not model.on:
            return
        copy = None if model.current is None else model.active[model.current]
        session = (model.count, cpu)
        if copy is not None and not self.refused(copy, session, resume) and not copy.valid:
            return  # what the checks of VM entry say is not of this model
        result = unit.vmresume() if resume else unit.vmlaunch()
        if copy is None:
            assert isinstance(result, VmFailInvalid)
            return
        error = self.refused(copy, session, resume)
        if error:
            self.failed(cpu, result, error)
            return
        assert isinstance(result, Entered), result
        assert unit.processor.rsp == copy.fields[f.GUEST_RSP]
        copy.launched, copy.session = True, session
        unit.exit(ExitInformation(f.EXIT_REASON_CPUID, instruction_length=2))
        copy.fields[f.VM_EXIT_REASON] = f.EXIT_REASON_CPUID
        self.host_again(unit)

    @rule(cpu=processors, region=regions)
    def a_guest_from_the_beginning(self, cpu, region):
        self.clear(cpu, region)
        self.load(cpu, region)
        self.write_what_can_be_entered(cpu)
        self.enter_a_guest(cpu, resume=False)

    @rule(cpu=processors, to=processors, resume=st.booleans())
    def the_guest_moves_to_another_processor(self, cpu, to, resume):
        region = self.cpus[cpu].current
        if region is not None:
            self.clear(cpu, region)
            self.load(to, region)
            self.enter_a_guest(to, resume)

    @rule(cpu=processors, resume=st.booleans(), forgetting=st.booleans())
    def the_hypervisor_is_loaded_again(self, cpu, resume, forgetting):
        region = self.cpus[cpu].current
        if region is not None:
            if not forgetting:
                self.clear(cpu, region)
            self.leave_operation(cpu)
            self.enter_operation(cpu)
            self.load(cpu, region)
            self.enter_a_guest(cpu, resume)

    @staticmethod
    def refused(copy, session, resume):
        if not resume:
            return f.VMX_ERROR_VMLAUNCH_NOT_CLEAR if copy.launched else 0
        if not copy.launched:
            return f.VMX_ERROR_VMRESUME_NOT_LAUNCHED
        same_processor = copy.session[1] == session[1]
        if same_processor and copy.session != session:
            return f.VMX_ERROR_VMRESUME_AFTER_VMXOFF
        return 0

    @staticmethod
    def host_again(unit):
        """The host-state area is of a host without a task; the next instructions need nothing."""
        unit.processor.cr3 = 0

    # The model's own steps

    def failed(self, cpu, result, error):
        model = self.cpus[cpu]
        if model.current is None:
            assert isinstance(result, VmFailInvalid)
        else:
            assert isinstance(result, VmFailValid) and result.error == error, result
            model.active[model.current].fields[f.VM_INSTRUCTION_ERROR] = error

    def elsewhere(self, cpu, region):
        if any(region in model.active for n, model in enumerate(self.cpus) if n != cpu):
            self.expected.append((VmcsActiveElsewhere, cpu, region))

    def touched(self, model, region, launch=False):
        """Memory of a region that a processor has active is not as that processor left it."""
        model.dirty.add(region)

    def written_back(self, cpu, region):
        model = self.cpus[cpu]
        copy = model.active.pop(region)
        copy.cleared = True
        changed = region in model.dirty
        model.dirty.discard(region)
        if changed:
            self.expected.append((VmcsRegionWritten, cpu, region))
        self.memory[region] = copy
        for other in self.cpus:
            if region in other.active:
                self.touched(other, region)

    # What has to hold

    @invariant()
    def pointers_agree(self):
        for model, unit in zip(self.cpus, self.units, strict=True):
            current = NO_POINTER if model.current is None else self.pages[model.current]
            assert unit.current_pointer == current
            assert set(unit.active) == {self.pages[region] for region in model.active}
            assert unit.in_operation == model.on
            if model.on:
                assert unit.vmptrst().value == current

    @invariant()
    def every_copy_holds_what_the_model_says(self):
        for model, unit in zip(self.cpus, self.units, strict=True):
            for region, copy in model.active.items():
                vmcs = unit.active[self.pages[region]]
                assert vmcs.launched == copy.launched
                for encoding in (*FIELDS, f.VM_INSTRUCTION_ERROR, f.VM_EXIT_REASON):
                    assert vmcs.read(encoding) == copy.fields.get(encoding, 0)

    @invariant()
    def holders_are_those_that_have_it_active(self):
        for region in range(REGIONS if hasattr(self, "pages") else 0):
            wanted = {n for n, model in enumerate(self.cpus) if region in model.active}
            assert set(self.rig.directory.holders(self.pages[region])) == wanted

    @invariant()
    def each_mistake_is_reported_once(self):
        if not hasattr(self, "pages"):
            return
        number = {page: n for n, page in enumerate(self.pages)}
        seen = [
            (type(event), event.processor, number[event.vmcs])
            for event in self.rig.events
            if isinstance(event, WATCHED)
        ]
        always = (VmcsActiveElsewhere, VmcsLeftActive, VmcsNeverCleared)
        assert [one for one in seen if one[0] in always] == [
            one for one in self.expected if one[0] in always
        ]
        # a write that puts back what was there is none: the reports are among the expected ones
        assert {one for one in seen if one[0] is VmcsRegionWritten} <= set(self.expected)


def test_vmcss_live_as_the_model_says_on_three_processors(make_rig):
    run_state_machine_as_test(
        lambda: VmcsLife(make_rig),
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )
