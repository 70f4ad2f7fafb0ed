"""What a guest does without an exit because a control lets it: VM functions, VMCS shadowing, TSC
scaling."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.vmx.results import VmFailInvalid, VmSucceed
from tests.hw.vmx.conftest import CODE_VA, DATA_PA, DATA_VA, GuestRig
from tests.hw.vmx.test_exit_information import FIELDS, information, turn_on

VALID, HARDWARE = 1 << 31, 3 << 8
CF, ZF = f.RFLAGS_CF, f.RFLAGS_ZF


class TestVmfunc:
    """SDM 3, "VM Functions": general operation, EPTP switching."""

    @pytest.fixture
    def switching(self, guest):
        """Function 0 with a list of two: the guest's own tables, and some with other data."""
        guest.enable_ept()
        first = guest.ept_root
        guest.other = guest.page(0x5A5A)
        guest.list = guest.page(0)
        guest.ept_root = guest.page(0)
        for pa in range(0x20_0000, 0x30_0000, 0x1000):
            guest.set_ept(pa, pa | 0x37)
        guest.set_ept(DATA_PA, guest.other | 0x37)
        words = guest.ram.u64
        words[guest.list >> 3], words[(guest.list >> 3) + 1] = first | 0x1E, guest.ept_root | 0x1E
        guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_ENABLE_VM_FUNCTIONS)
        guest.write_fields({f.VM_FUNCTION_CONTROL: 1, f.EPTP_LIST_ADDR: guest.list})
        guest.second = guest.ept_root | 0x1E
        return guest

    def test_the_capability_is_there(self, guest):
        assert guest.capabilities.vm_functions == 1

    def test_eptp_switching_shows_other_memory_without_an_exit(self, switching):
        code = "mov rbx, [rsi]; mov ecx, 1; xor eax, eax; vmfunc; mov rdx, [rsi]; hlt"
        switching.ram.u64[DATA_PA >> 3] = 0x1111
        found = switching.launch(code, rsi=DATA_VA)
        assert found.reason == f.EXIT_REASON_HLT
        assert (switching.gpr("rbx"), switching.gpr("rdx")) == (0x1111, 0x5A5A)
        assert switching.read(f.EPT_POINTER) == switching.second

    def test_and_back(self, switching):
        switching.ram.u64[DATA_PA >> 3] = 0x1111
        code = "mov ecx, 1; vmfunc; xor ecx, ecx; vmfunc; mov rdx, [rsi]; hlt"
        assert switching.launch(code, rsi=DATA_VA).reason == f.EXIT_REASON_HLT
        assert switching.gpr("rdx") == 0x1111

    def test_a_handler_resumes_with_the_pointer_that_the_guest_chose(self, switching):
        switching.launch("mov ecx, 1; vmfunc; cpuid; mov rdx, [rsi]; hlt", rsi=DATA_VA)
        assert switching.resume().reason == f.EXIT_REASON_HLT
        assert switching.gpr("rdx") == 0x5A5A

    def test_ring_3_may_use_it(self, switching):
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
        }
        switching.write_fields(ring_3)
        found = switching.launch("mov ecx, 1; vmfunc; cpuid")
        assert found.reason == f.EXIT_REASON_CPUID

    @pytest.mark.parametrize(
        ("eax", "ecx"), [(1, 0), (63, 0), (0, 512), (0, 0xFFFF_FFFF), (0, 2), (0, 3)]
    )
    def test_a_function_or_an_entry_that_is_not_there_exits(self, switching, eax, ecx):
        switching.ram.u64[(switching.list >> 3) + 3] = switching.second | 1 << 50
        found = switching.launch("nop; vmfunc; hlt", rax=eax, rcx=ecx)
        assert (found.reason, found.rip) == (f.EXIT_REASON_VMFUNC, CODE_VA + 1)
        assert information(switching) == {"length": 3}

    @pytest.mark.parametrize("eax", [64, 0xFFFF_FFFF])
    def test_numbers_above_63_are_undefined(self, switching, eax):
        switching.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_UD})
        switching.launch("vmfunc; hlt", rax=eax)
        assert switching.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | f.VECTOR_UD

    def test_upper_halves_do_not_count(self, switching):
        found = switching.launch("vmfunc; hlt", rax=1 << 32, rcx=1 << 32 | 1)
        assert found.reason == f.EXIT_REASON_HLT

    def test_without_its_control_it_is_undefined(self, guest):
        guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_UD})
        guest.launch("vmfunc; hlt")
        assert guest.read(f.VM_EXIT_INTR_INFO) == VALID | HARDWARE | f.VECTOR_UD


class TestVmcsShadowing:
    """SDM 3, "Instructions That Cause VM Exits Conditionally": VMREAD, VMWRITE."""

    @pytest.fixture
    def shadowing(self, guest):
        """A shadow VMCS with TSC_OFFSET 0x1234_5678_9ABC; both bitmaps let everything through."""
        unit = guest.unit
        own = unit.current_pointer
        guest.shadow = guest.page(guest.capabilities.revision_id | f.VMCS_SHADOW_INDICATOR)
        assert unit.vmclear(guest.shadow) == VmSucceed()
        assert unit.vmptrld(guest.shadow) == VmSucceed()
        assert unit.vmwrite(f.TSC_OFFSET, 0x1234_5678_9ABC) == VmSucceed()
        assert unit.vmclear(guest.shadow) == VmSucceed()
        assert unit.vmptrld(own) == VmSucceed()
        guest.reads, guest.writes = guest.page(0), guest.page(0)
        turn_on(guest, 0, f.SECONDARY_VMCS_SHADOWING)
        guest.write_fields(
            {
                f.VMREAD_BITMAP: guest.reads,
                f.VMWRITE_BITMAP: guest.writes,
                f.VMCS_LINK_POINTER: guest.shadow,
            }
        )
        return guest

    def of_shadow(self, guest, encoding):
        """VMREAD by the host, with the shadow VMCS current for a moment."""
        own = guest.unit.current_pointer
        guest.unit.vmptrld(guest.shadow)
        value = guest.read(encoding)
        guest.unit.vmptrld(own)
        return value

    def test_a_shadow_vmcs_cannot_be_entered(self, shadowing):
        shadowing.unit.vmptrld(shadowing.shadow)
        assert isinstance(shadowing.unit.vmlaunch(), VmFailInvalid)

    def test_vmread_and_vmwrite_reach_it_without_an_exit(self, shadowing):
        code = "vmread rbx, rcx; inc rbx; vmwrite rcx, rbx; hlt"
        found = shadowing.launch(code, rcx=f.TSC_OFFSET)
        assert found.reason == f.EXIT_REASON_HLT
        assert shadowing.gpr("rbx") == 0x1234_5678_9ABD
        assert self.of_shadow(shadowing, f.TSC_OFFSET) == 0x1234_5678_9ABD
        assert shadowing.read(f.TSC_OFFSET) == 0

    def test_memory_operands(self, shadowing):
        shadowing.launch(
            "vmread [rsi], rcx; vmwrite rdx, [rsi]; hlt",
            rsi=DATA_VA,
            rcx=f.TSC_OFFSET,
            rdx=f.GUEST_RIP,
        )
        assert shadowing.ram.u64[DATA_PA >> 3] == 0x1234_5678_9ABC
        assert self.of_shadow(shadowing, f.GUEST_RIP) == 0x1234_5678_9ABC

    def test_upper_halves(self, shadowing):
        shadowing.launch("vmread rbx, rcx; hlt", rcx=f.TSC_OFFSET + 1)
        assert shadowing.gpr("rbx") == 0x1234

    def test_flags_say_how_it_went(self, shadowing):
        rflags = 2 | CF | ZF
        shadowing.write_fields({f.GUEST_RFLAGS: rflags})
        shadowing.launch("vmread rbx, rcx; hlt", rcx=f.TSC_OFFSET)
        assert shadowing.read(f.GUEST_RFLAGS) == 2

    def test_an_unsupported_component_fails_with_the_number_in_the_shadow_vmcs(self, shadowing):
        found = shadowing.launch("vmread rbx, rcx; hlt", rcx=0x6830)
        assert found.reason == f.EXIT_REASON_HLT
        assert shadowing.read(f.GUEST_RFLAGS) == 2 | ZF
        assert self.of_shadow(shadowing, f.VM_INSTRUCTION_ERROR) == 12
        assert shadowing.read(f.VM_INSTRUCTION_ERROR) == 0

    def test_without_a_link_pointer_they_fail_invalid(self, shadowing):
        shadowing.write_fields({f.VMCS_LINK_POINTER: 0xFFFF_FFFF_FFFF_FFFF})
        shadowing.launch("vmwrite rcx, rbx; hlt", rcx=f.TSC_OFFSET)
        assert shadowing.read(f.GUEST_RFLAGS) == 2 | CF

    @pytest.mark.parametrize(
        ("code", "bitmap", "reason"),
        [
            ("vmread rbx, rcx", "reads", f.EXIT_REASON_VMREAD),
            ("vmwrite rcx, rbx", "writes", f.EXIT_REASON_VMWRITE),
        ],
    )
    def test_a_bit_of_the_bitmap_makes_its_encoding_exit(self, shadowing, code, bitmap, reason):
        place = getattr(shadowing, bitmap) + (f.TSC_OFFSET >> 3)
        shadowing.ram.write(place, bytes([1 << (f.TSC_OFFSET & 7)]))
        found = shadowing.launch(code + "; hlt", rcx=f.TSC_OFFSET)
        assert found.reason == reason
        seen = information(shadowing)
        assert (seen["length"], set(seen)) == (3, {"length", "instruction"})

    @pytest.mark.parametrize("encoding", [1 << 15 | f.TSC_OFFSET, 1 << 63 | f.TSC_OFFSET])
    def test_encodings_that_the_bitmap_does_not_have_exit(self, shadowing, encoding):
        found = shadowing.launch("vmread rbx, rcx; hlt", rcx=encoding)
        assert found.reason == f.EXIT_REASON_VMREAD

    def test_outside_ring_0_it_is_general_protection(self, shadowing):
        ring_3 = {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
            f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP,
        }
        shadowing.write_fields(ring_3)
        shadowing.launch("vmread rbx, rcx; hlt", rcx=f.TSC_OFFSET)
        assert shadowing.read(f.VM_EXIT_INTR_INFO) & 0xFF == f.VECTOR_GP

    def test_other_vmx_instructions_exit_as_ever(self, shadowing):
        assert shadowing.launch("vmptrst [rsi]", rsi=DATA_VA).reason == f.EXIT_REASON_VMPTRST

    def test_a_link_to_an_ordinary_vmcs_is_an_entry_failure(self, shadowing):
        shadowing.write_fields({f.VMCS_LINK_POINTER: shadowing.page()})
        failed = shadowing.unit.vmlaunch()
        assert (failed.reason, failed.qualification) == (0x8000_0021, 4)


class TestTscScaling:
    @pytest.fixture
    def scaling(self):
        rig = GuestRig(CpuModel(based_on="i7-1065G7"))
        rig.processor.clock.now = 10_000_000  # a second
        turn_on(rig, f.CPU_BASED_USE_TSC_OFFSETTING, f.SECONDARY_USE_TSC_SCALING)
        rig.write_fields({f.TSC_MULTIPLIER: 3 << 47, f.TSC_OFFSET: 7})
        return rig

    @pytest.mark.parametrize("code", ["rdtsc", "mov ecx, 0x10; rdmsr"])
    def test_the_counter_is_multiplied_and_then_offset(self, scaling, code):
        scaling.write_fields({f.MSR_BITMAP: scaling.page(0)})
        turn_on(scaling, f.CPU_BASED_USE_MSR_BITMAPS)
        scaling.launch(code + "; hlt")
        seen = scaling.gpr("rdx") << 32 | scaling.gpr("rax")
        assert seen == scaling.processor.clock.tsc * 3 // 2 + 7

    def test_it_needs_offsetting(self, scaling):
        scaling.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_USE_TSC_OFFSETTING, clear=True)
        scaling.launch("rdtsc; hlt")
        seen = scaling.gpr("rdx") << 32 | scaling.gpr("rax")
        assert seen == scaling.processor.clock.tsc

    def test_a_multiplier_of_0_is_error_7(self, scaling):
        scaling.write_fields({f.TSC_MULTIPLIER: 0})
        assert scaling.unit.vmlaunch().error == 7


def test_every_field_of_exit_information_is_looked_at():
    kinds = {field for field in f.FIELDS if field >> 10 & 3 == f.VMCS_TYPE_EXIT_INFO}
    io = {field for name, field in vars(f).items() if name.startswith(("IO_R", "EXIT_IO"))}
    others = {f.VM_INSTRUCTION_ERROR, f.VM_EXIT_REASON} | io
    assert set(FIELDS.values()) >= {k for k in kinds if f.FIELDS[k].exists_if is None} - others
