"""A driver makes the running system its guest: SDM 3, "VMX Non-Root Operation"."""

from __future__ import annotations

from pathlib import Path

import pytest

import ntsim
from driver.vmcs import *
from driver.vmx_guest import vmread
from ntsim.abi import vmx_constants as abi
from ntsim.intrin import *
from ntsim.wdm import *

from .hypervisor import (
    CPUID,
    IO,
    RDMSR,
    VMCALL,
    WRMSR,
    Hypervisor,
    ept_identity,
    pass_through,
    primary,
    run,
)

DRIVERS = Path(__file__).parents[2] / "driver/c"


def test_vmlaunch_makes_save_stack_return_0_in_non_root_operation():
    seen = []
    hypervisor = Hypervisor(lambda: seen.append(machine_mode()))

    def machine_mode():
        return KeGetCurrentIrql(), bool(__readeflags() & 0x200)

    with run(hypervisor) as machine:
        assert hypervisor.launched == 0
        assert seen == [(0, True)]
        assert machine.nt.processors[0].vmx.mode_name == "non-root"


def test_cpuid_of_the_guest_exits_and_the_handler_decides():
    def cpuid(regs):
        regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = 1, 2, 3, 4
        return True

    hypervisor = Hypervisor(lambda: __cpuid(0x40000000, 9), {CPUID: cpuid})
    with run(hypervisor):
        assert hypervisor.result == (1, 2, 3, 4)
        assert hypervisor.reasons == [CPUID]


def test_the_handler_runs_at_if_0_and_sees_the_guests_registers_and_rip():
    seen = []

    def vmcall(regs):
        seen.append((regs.Rcx, regs.Rdx, regs.R8, regs.R9, __readeflags()))
        regs.Rax = 99
        return True

    hypervisor = Hypervisor(lambda: __vmx_vmcall(1, 2, 3, 4), {VMCALL: vmcall})
    with run(hypervisor):
        assert seen == [(1, 2, 3, 4, 2)]
        assert hypervisor.result == 99


def test_an_instruction_that_the_handler_does_not_skip_is_executed_again():
    tries = []

    def cpuid(regs):
        tries.append(1)
        regs.Rbx = 7
        return len(tries) == 3

    hypervisor = Hypervisor(lambda: __cpuid(0)[1], {CPUID: cpuid})
    with run(hypervisor):
        assert (hypervisor.result, len(tries)) == (7, 3)


@pytest.mark.parametrize(
    ("index", "bit", "write", "exits"),
    [
        (0x10A, None, False, False),
        (0x1D9, (0x1D9 // 8, 0x1D9 % 8), False, True),
        (0xC0000082, (0x400 + 0x82 // 8, 0x82 % 8), False, True),
        (0xC0000082, (0x400 + 0x82 // 8, 0x82 % 8), True, False),
        (0xC0000082, (0xC00 + 0x82 // 8, 0x82 % 8), True, True),
        (0x40000000, None, False, True),
    ],
)
def test_msr_bitmaps_decide_about_rdmsr_and_wrmsr(index, bit, write, exits):
    def fields():
        bitmap = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(bitmap, PAGE_SIZE)
        if bit:
            write_bytes(bitmap + bit[0], bytes([1 << bit[1]]))
        return [
            (abi.MSR_BITMAP, MmGetPhysicalAddress(bitmap)),
            *primary(abi.CPU_BASED_USE_MSR_BITMAPS)(),
        ]

    def guest():
        if write:
            __writemsr(index, 0xFFFFF80000001000)
        elif index != 0x10A:
            return __readmsr(index)
        return None

    on = {reason: lambda regs: True for reason in (RDMSR, WRMSR)}
    hypervisor = Hypervisor(guest, on, fields)
    with run(hypervisor):
        assert hypervisor.reasons == [WRMSR if write else RDMSR] * exits


def test_io_bitmaps_and_the_qualification_of_an_out():
    def fields():
        bitmap = MmAllocateContiguousMemory(2 * PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(bitmap, 2 * PAGE_SIZE)
        write_bytes(bitmap + 0x3F8 // 8, b"\1")
        pa = MmGetPhysicalAddress(bitmap)
        return [
            (abi.IO_BITMAP_A, pa),
            (abi.IO_BITMAP_B, pa + PAGE_SIZE),
            *primary(abi.CPU_BASED_USE_IO_BITMAPS)(),
        ]

    def guest():
        __outbyte(0x3F8, 0x41)
        __outbyte(0x3F9, 0)
        return __inword(0x3F8)

    def io(regs):
        regs.Rax = 0x12345
        return True

    hypervisor = Hypervisor(guest, {IO: io}, fields)
    with run(hypervisor):
        assert hypervisor.seen == [(IO, 0x3F8 << 16), (IO, 0x3F8 << 16 | 8 | 1)]
        assert hypervisor.result == 0x2345


def test_cr0_and_cr4_are_masked_and_shadowed():
    vmxe = 1 << 13

    def guest():
        hidden = __readcr4() & vmxe
        __writecr4(__readcr4())
        __writecr4(__readcr4() | vmxe)
        return hidden

    def fields():
        return [(CR4_GUEST_HOST_MASK, vmxe), (CR4_READ_SHADOW, 0)]

    hypervisor = Hypervisor(guest, {abi.EXIT_REASON_CR_ACCESS: lambda regs: True}, fields)
    with run(hypervisor):
        assert hypervisor.result == 0
        assert hypervisor.seen == [(abi.EXIT_REASON_CR_ACCESS, 4)]


def test_the_kernels_own_loads_of_cr3_exit_when_it_changes_the_address_space():
    hypervisor = Hypervisor(lambda: None, fields=primary(abi.CPU_BASED_CR3_LOAD_EXITING))
    with run(hypervisor) as machine:
        assert machine.run(lambda: 0, name="app.exe").exit_code == 0
        assert (abi.EXIT_REASON_CR_ACCESS, 3) in hypervisor.seen


@pytest.mark.parametrize("seed", range(3))
def test_a_thread_is_not_run_elsewhere_while_the_exit_of_its_switch_is_handled(seed):
    def slowly(regs):
        KeStallExecutionProcessor(50)
        return pass_through(regs)

    def guest():
        KeSetSystemAffinityThread(2)
        return KeGetCurrentProcessorNumber()

    hypervisor = Hypervisor(
        guest, {abi.EXIT_REASON_CR_ACCESS: slowly}, primary(abi.CPU_BASED_CR3_LOAD_EXITING)
    )
    with run(hypervisor, processors=2, seed=seed) as machine:
        assert hypervisor.result == 1
        modes = [processor.vmx.mode_name for processor in machine.nt.processors]
        assert modes == ["non-root", "off"]


def test_the_kernels_own_loads_of_cr8_exit():
    def cr8(regs):
        levels.append(regs.Rax)
        __writecr8(regs.Rax)
        return True

    def guest():
        levels.clear()
        KeLowerIrql(KeRaiseIrqlToDpcLevel())

    levels = []
    hypervisor = Hypervisor(
        guest, {abi.EXIT_REASON_CR_ACCESS: cr8}, primary(abi.CPU_BASED_CR8_LOAD_EXITING)
    )
    with run(hypervisor):
        assert levels[:2] == [2, 0]


def test_the_idle_loops_hlt_exits():
    def guest():
        wait = LARGE_INTEGER()
        wait.QuadPart = -10_000
        return KeDelayExecutionThread(KernelMode, FALSE, wait)

    hypervisor = Hypervisor(guest, fields=primary(CPU_BASED_HLT_EXITING))
    with run(hypervisor):
        assert hypervisor.result == STATUS_SUCCESS
        assert abi.EXIT_REASON_HLT in hypervisor.reasons


def test_tsc_offsetting_and_rdtsc_exiting():
    def fields():
        return [(TSC_OFFSET, 1 << 40), *primary(abi.CPU_BASED_USE_TSC_OFFSETTING)()]

    hypervisor = Hypervisor(__rdtsc, fields=fields)
    with run(hypervisor):
        assert 1 << 40 <= hypervisor.result < 1 << 41 and not hypervisor.seen

    def rdtsc(regs):
        regs.Rax, regs.Rdx = 5, 6
        return True

    hypervisor = Hypervisor(
        __rdtsc, {abi.EXIT_REASON_RDTSC: rdtsc}, primary(abi.CPU_BASED_RDTSC_EXITING)
    )
    with run(hypervisor):
        assert hypervisor.result == 6 << 32 | 5


@pytest.mark.parametrize("acknowledge", [True, False])
def test_external_interrupts_exit_and_the_handler_passes_them_on(acknowledge):
    def fields():
        bit = abi.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT if acknowledge else 0
        pin = vmread(PIN_BASED_VM_EXEC_CONTROL) | abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
        return [
            (PIN_BASED_VM_EXEC_CONTROL, pin),
            (VM_EXIT_CONTROLS, vmread(VM_EXIT_CONTROLS) | bit),
        ]

    def interrupt(regs):
        if acknowledge:
            __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, vmread(abi.VM_EXIT_INTR_INFO))
        else:
            _enable()  # Windows takes it in root operation
            _disable()
            __vmx_vmwrite(abi.GUEST_ACTIVITY_STATE, abi.ACTIVITY_STATE_ACTIVE)  # out of the HLT
        return False

    def guest():
        wait = LARGE_INTEGER()
        wait.QuadPart = -300_000
        return KeDelayExecutionThread(KernelMode, FALSE, wait)

    hypervisor = Hypervisor(guest, {abi.EXIT_REASON_EXTERNAL_INTERRUPT: interrupt}, fields)
    with run(hypervisor):
        assert hypervisor.result == STATUS_SUCCESS
        assert abi.EXIT_REASON_EXTERNAL_INTERRUPT in hypervisor.reasons


def test_an_injected_gp_is_the_guests_exception():
    def rdmsr(regs):
        info = abi.INTR_INFO_VALID | abi.INTR_INFO_DELIVER_ERROR_CODE | 3 << 8 | 13
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, info)
        __vmx_vmwrite(abi.VM_ENTRY_EXCEPTION_ERROR_CODE, 0)
        return False

    def guest():
        try:
            __readmsr(0x174)
        except StructuredException as error:
            return error.ExceptionCode
        return 0

    hypervisor = Hypervisor(guest, {RDMSR: rdmsr})
    with run(hypervisor):
        assert hypervisor.result == STATUS_PRIVILEGED_INSTRUCTION


@pytest.mark.parametrize("claimed", [True, False])
def test_an_injected_nmi_calls_the_nmi_callbacks_and_is_0x80_if_none_claims_it(claimed):
    """WDK KeRegisterNmiCallback; the last registered is called first and its answer passed on."""
    seen = []

    def rdmsr(regs):
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, abi.INTR_INFO_VALID | 2 << 8 | 2)
        return True

    def guest():
        def first(Context, Handled):
            seen.append((int(Context), Handled, KeGetCurrentIrql()))
            return FALSE

        def last(Context, Handled):
            seen.append((int(Context), Handled, KeGetCurrentIrql()))
            return claimed

        KeRegisterNmiCallback(first, 1)
        KeRegisterNmiCallback(last, 2)
        __readmsr(0x174)
        return KeGetCurrentIrql()

    hypervisor = Hypervisor(guest, {RDMSR: rdmsr})
    if claimed:
        with run(hypervisor):
            assert hypervisor.result == 0
    else:
        with pytest.raises(ntsim.BugCheck) as caught:
            run(hypervisor)
        assert caught.value.code == 0x80
    assert seen == [(2, 0, HIGH_LEVEL), (1, int(claimed), HIGH_LEVEL)]


def test_the_exception_bitmap_takes_a_gp_before_the_kernel_sees_it():
    def exception(regs):
        __vmx_vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 2)
        return False

    def fields():
        bitmap = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(bitmap, PAGE_SIZE)
        return [
            (abi.MSR_BITMAP, MmGetPhysicalAddress(bitmap)),
            (EXCEPTION_BITMAP, 1 << 13),
            *primary(abi.CPU_BASED_USE_MSR_BITMAPS)(),
        ]

    on = {abi.EXIT_REASON_EXCEPTION_OR_NMI: exception}
    hypervisor = Hypervisor(lambda: __readmsr(0x1FFF), on, fields)
    with run(hypervisor) as machine:
        assert machine.bugcheck is None
        assert hypervisor.reasons == [abi.EXIT_REASON_EXCEPTION_OR_NMI]


def test_vmxoff_in_the_handler_and_continue_at_devirtualise():
    def vmcall(regs):
        rip, rsp = vmread(GUEST_RIP) + 3, vmread(GUEST_RSP)
        __vmx_off()
        _enable()
        regs.Rax = 42
        continue_at(rip, rsp)

    def guest():
        return __vmx_vmcall(), __cpuid(0)[0] > 0

    hypervisor = Hypervisor(guest, {VMCALL: vmcall})
    with run(hypervisor) as machine:
        assert hypervisor.result == (42, True)
        assert hypervisor.reasons == [VMCALL]
        assert machine.nt.processors[0].vmx.mode_name == "off"
        assert machine.nt.processors[0].interrupts_enabled
        assert not machine.findings


def test_continue_at_with_another_stack_pointer_is_stack_corruption():
    def vmcall(regs):
        continue_at(vmread(GUEST_RIP) + 3, vmread(GUEST_RSP) - 0x100)

    with pytest.raises(ntsim.BugCheck) as caught:
        run(Hypervisor(__vmx_vmcall, {VMCALL: vmcall}))
    assert caught.value.code == 0x139


def test_a_handler_that_executes_vmresume_itself_goes_on_as_one_that_returns():
    def vmcall(regs):
        regs.Rax = 3
        __vmx_vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 3)
        __vmx_vmresume()

    hypervisor = Hypervisor(lambda: [__vmx_vmcall() for _ in range(3)], {VMCALL: vmcall})
    with run(hypervisor):
        assert hypervisor.result == [3, 3, 3]


def test_vmx_instructions_of_the_guest_exit():
    def fail(regs):
        __vmx_vmwrite(GUEST_RFLAGS, vmread(GUEST_RFLAGS) | 1)  # VMfailInvalid
        return True

    hypervisor = Hypervisor(
        lambda: (__vmx_on(0x1000), __vmx_vmread(GUEST_RIP)),
        {abi.EXIT_REASON_VMXON: fail, abi.EXIT_REASON_VMREAD: fail},
    )
    with run(hypervisor):
        assert hypervisor.result == (2, (2, 0))


def test_a_guest_with_a_wrong_gs_base_ends_in_a_triple_fault():
    def triple(regs):
        KeBugCheckEx(0xE2, 2, 0, 0, 0)

    with pytest.raises(ntsim.BugCheck) as caught:
        run(
            Hypervisor(
                lambda: None,
                {abi.EXIT_REASON_TRIPLE_FAULT: triple},
                lambda: [(GUEST_GS_BASE, 0)],
            )
        )
    assert caught.value.parameters[0] == 2


def test_an_exit_that_repeats_for_ever_ends_the_run_and_says_so():
    with pytest.raises(ntsim.Hang, match=r"CPUID at hv!.* repeated 10,000 times"):
        run(Hypervisor(lambda: __cpuid(0), {CPUID: lambda regs: False}))


def test_with_interrupts_off_another_processor_notices_0x101():
    def guest():
        _disable()
        __cpuid(0)

    with pytest.raises(ntsim.BugCheck) as caught:
        run(Hypervisor(guest, {CPUID: lambda regs: False}), processors=2)
    assert caught.value.code == 0x101
    assert caught.value.parameters[3] == 0


def test_rdtscp_is_undefined_without_its_control():
    def guest():
        try:
            return __rdtscp()
        except StructuredException as error:
            return error.ExceptionCode

    hypervisor = Hypervisor(guest)
    with run(hypervisor):
        assert hypervisor.result == STATUS_ILLEGAL_INSTRUCTION


def test_ept_violations_of_guarded_memory_exit_and_the_monitor_trap_flag_follows_the_access():
    state = {}

    def fields():
        state["block"] = ExAllocatePoolWithTag(PagedPool, PAGE_SIZE, 1)
        write_bytes(state["block"], b"before")
        pa, words = ept_identity()
        state["words"] = words
        state["leaf"] = 1536 + (MmGetPhysicalAddress(state["block"]) >> 12)
        words[state["leaf"]] &= ~2
        secondary = abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        return [
            (abi.EPT_POINTER, pa | 3 << 3 | 6),
            (abi.SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_ENABLE_EPT),
            *primary(secondary)(),
        ]

    def violation(regs):
        state["words"][state["leaf"]] |= 2
        state["linear"] = vmread(abi.GUEST_LINEAR_ADDRESS)
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) | abi.CPU_BASED_MONITOR_TRAP_FLAG
        __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, bits)
        return False

    def trap(regs):
        state["words"][state["leaf"]] &= ~2
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) & ~abi.CPU_BASED_MONITOR_TRAP_FLAG
        __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, bits)
        return False

    def guest():
        data = read_bytes(state["block"], 6)
        for _ in range(2):
            write_bytes(state["block"] + 8, b"written")
            KeGetCurrentIrql()
        return data, read_bytes(state["block"] + 8, 7)

    on = {
        abi.EXIT_REASON_EPT_VIOLATION: violation,
        abi.EXIT_REASON_MONITOR_TRAP_FLAG: trap,
    }
    hypervisor = Hypervisor(guest, on, fields)
    with run(hypervisor):
        assert hypervisor.result == (b"before", b"written")
        qualification = 2 | (1 | 4) << 3 | 1 << 7 | 1 << 8
        once = [(abi.EXIT_REASON_EPT_VIOLATION, qualification), (37, 0)]
        assert hypervisor.seen == once * 2
        assert state["linear"] == state["block"] + 8


def test_an_exception_that_the_handler_has_seen_to_is_not_the_guests():
    """The instruction is executed again, as after any fault whose cause is gone."""
    seen = []

    def exception(regs):
        seen.append(vmread(abi.VM_EXIT_INTR_INFO))
        __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, state["bitmaps"])
        return False

    def rdmsr(regs):
        regs.Rax, regs.Rdx = 0x55, 0
        return True

    state = {}

    def fields():
        bitmap = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(bitmap, PAGE_SIZE)
        state["bitmaps"] = vmread(CPU_BASED_VM_EXEC_CONTROL) & ~abi.CPU_BASED_USE_MSR_BITMAPS
        return [
            (abi.MSR_BITMAP, MmGetPhysicalAddress(bitmap)),
            (EXCEPTION_BITMAP, 1 << 13),
            *primary(abi.CPU_BASED_USE_MSR_BITMAPS)(),
        ]

    on = {abi.EXIT_REASON_EXCEPTION_OR_NMI: exception, RDMSR: rdmsr}
    hypervisor = Hypervisor(lambda: __readmsr(0x1FFF), on, fields)
    with run(hypervisor):
        assert (hypervisor.result, seen) == (0x55, [0x80000B0D])


def guarded(state, pointer_bits, secondary, leaf_bits, more=list):
    """Fields for a guest with EPT, of which the page of a paged-pool block loses `leaf_bits`."""

    def fields():
        state["block"] = ExAllocatePoolWithTag(PagedPool, PAGE_SIZE, 1)
        write_bytes(state["block"], b"before")
        pa, words = ept_identity()
        state["words"], state["pa"] = words, MmGetPhysicalAddress(state["block"])
        state["leaf"] = 1536 + (state["pa"] >> 12)
        words[state["leaf"]] &= ~leaf_bits
        return [
            (abi.EPT_POINTER, pa | 3 << 3 | 6 | pointer_bits),
            (abi.SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_ENABLE_EPT | secondary),
            *primary(abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)(),
            *more(),
        ]

    return fields


def test_the_page_modification_log_gets_guarded_pages_that_are_written():
    """SDM 3, "Accessed and Dirty Flags for EPT", "Page-Modification Logging"."""
    state = {}

    def log():
        state["log"] = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(state["log"], PAGE_SIZE)
        address = MmGetPhysicalAddress(state["log"])
        return [(abi.PML_ADDRESS, address), (abi.GUEST_PML_INDEX, 511)]

    def guest():
        flags = []
        read_bytes(state["block"], 6)
        flags.append(state["words"][state["leaf"]] >> 8 & 3)
        write_bytes(state["block"], b"after")
        flags.append(state["words"][state["leaf"]] >> 8 & 3)
        return flags, cast(state["log"], PULONGLONG)[511]

    fields = guarded(state, 1 << 6, abi.SECONDARY_ENABLE_PML, 0, log)
    hypervisor = Hypervisor(guest, fields=fields)
    with run(hypervisor):
        assert hypervisor.result == ([1, 3], state["pa"] & ~0xFFF)


@pytest.mark.parametrize("exits", [True, False])
def test_a_virtualization_exception_of_the_kernel_is_not_modelled_and_says_so(exits):
    state = {}

    def area():
        state["area"] = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(state["area"], PAGE_SIZE)
        bitmap = (EXCEPTION_BITMAP, 1 << 20) if exits else (EXCEPTION_BITMAP, 0)
        return [(abi.VIRT_EXCEPTION_INFO, MmGetPhysicalAddress(state["area"])), bitmap]

    def exception(regs):
        state["words"][state["leaf"]] |= 2
        return False

    def guest():
        write_bytes(state["block"], b"after")
        return cast(state["area"], PULONG)[0], cast(state["area"], PULONGLONG)[2]

    fields = guarded(state, 0, abi.SECONDARY_EPT_VIOLATION_VE, 2, area)
    hypervisor = Hypervisor(guest, {abi.EXIT_REASON_EXCEPTION_OR_NMI: exception}, fields)
    if exits:
        with run(hypervisor):
            assert hypervisor.result == (abi.EXIT_REASON_EPT_VIOLATION, state["block"])
    else:
        with pytest.raises(ntsim.errors.UnmodelledRoutine, match="KiVirtualizationException"):
            run(hypervisor)


def test_a_handler_may_change_the_registers_of_an_instruction_that_is_executed_again():
    """SDM 3, "VM Exits": the guest goes on with the registers the host left, at GUEST_RIP."""

    def cpuid(regs):
        if regs.Rax == 0x40000000:
            regs.Rax, regs.Rcx = 4, 1
            return False
        return pass_through(regs)

    hypervisor = Hypervisor(lambda: __cpuid(0x40000000, 9), {CPUID: cpuid})
    with run(hypervisor):
        assert hypervisor.result == ntsim.hw.cpu_model.DEFAULT.leaf(4, 1)
        assert hypervisor.reasons == [CPUID, CPUID]


def test_an_msr_index_and_value_may_be_changed_before_the_instruction_is_executed_again():
    read = []

    def wrmsr(regs):
        if regs.Rcx == 0x40000000:
            regs.Rcx, regs.Rax = 0xC0000103, 0x77  # IA32_TSC_AUX
            return False
        return pass_through(regs)

    def rdmsr(regs):
        read.append(regs.Rcx & 0xFFFFFFFF)
        regs.Rcx = 0xC0000103
        return pass_through(regs) if len(read) == 2 else False

    def guest():
        __writemsr(0x40000000, 0x99)
        return __readmsr(0x40000000)

    hypervisor = Hypervisor(guest, {WRMSR: wrmsr, RDMSR: rdmsr})
    with run(hypervisor):
        assert (hypervisor.result, read) == (0x77, [0x40000000, 0xC0000103])


def pin(bits):
    return (PIN_BASED_VM_EXEC_CONTROL, vmread(PIN_BASED_VM_EXEC_CONTROL) | bits)


# In HLT: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation", "Other Causes of VM
# Exits" (external interrupts exit whatever RFLAGS.IF is) and "Architectural State Before a VM Exit"
# (the processor is active again only behind the exit).


def halting(interrupts, on_exit):
    """A guest in HLT, with external-interrupt exiting; (hypervisor, activity states seen)."""
    states = []

    def interrupt(regs):
        states.append(vmread(abi.GUEST_ACTIVITY_STATE))
        return on_exit(len(states))

    def guest():
        if not interrupts:
            _disable()
        __halt()
        _enable()
        return len(states)

    def fields():
        return [pin(abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)]

    on = {abi.EXIT_REASON_EXTERNAL_INTERRUPT: interrupt}
    return Hypervisor(guest, on, fields), states


@pytest.mark.parametrize("interrupts", [True, False])
def test_an_external_interrupt_exits_from_hlt_whatever_the_interrupt_flag_is(interrupts):
    def on_exit(count):
        _enable()
        _disable()
        if count >= 3:
            __vmx_vmwrite(abi.GUEST_ACTIVITY_STATE, abi.ACTIVITY_STATE_ACTIVE)
        return False

    hypervisor, states = halting(interrupts, on_exit)
    with run(hypervisor):
        assert hypervisor.result == 3
        assert states[:3] == [abi.ACTIVITY_STATE_HLT] * 3


def test_an_injected_interrupt_wakes_it():
    def on_exit(count):
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, vmread(abi.VM_EXIT_INTR_INFO))
        return False

    hypervisor, states = halting(True, on_exit)
    plain = hypervisor.fields
    bit = abi.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT
    hypervisor.fields = lambda: [
        *plain(),
        (VM_EXIT_CONTROLS, vmread(VM_EXIT_CONTROLS) | bit),
    ]
    with run(hypervisor):
        assert hypervisor.result == 1
        assert states[0] == abi.ACTIVITY_STATE_HLT


def test_with_interrupts_off_running_code_is_left_for_one_too():
    left = []

    def interrupt(regs):
        left.append(vmread(GUEST_RFLAGS) & 0x200)
        _enable()
        _disable()
        return False

    def guest():
        _disable()
        while not left:
            _mm_pause()
        _enable()
        return left[0]

    on = {abi.EXIT_REASON_EXTERNAL_INTERRUPT: interrupt}

    def fields():
        return [pin(abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)]

    hypervisor = Hypervisor(guest, on, fields)
    with run(hypervisor):
        assert hypervisor.result == 0


def test_an_nmi_blocks_further_ones_until_its_handler_returns():
    """SDM 3, "VM Entries": an injected NMI sets blocking by NMI; IRET ends it."""
    states = []

    def cpuid(regs):
        states.append(vmread(abi.GUEST_INTERRUPTIBILITY_STATE) & abi.BLOCKING_BY_NMI)
        return pass_through(regs)

    def rdmsr(regs):
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, abi.INTR_INFO_VALID | 2 << 8 | 2)
        return True

    def guest():
        def callback(Context, Handled):
            __cpuid(0)
            return TRUE

        KeRegisterNmiCallback(callback, 0)
        __readmsr(0x174)
        __cpuid(0)

    with run(Hypervisor(guest, {RDMSR: rdmsr, CPUID: cpuid})):
        assert states == [abi.BLOCKING_BY_NMI, 0]


@pytest.mark.parametrize("vector", [0xD1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_replaced_gates_count_in_the_guest(vector, first):
    """docs/compiled-drivers.md: a gate that a driver has replaced is delivered for real."""

    def rdmsr(regs):
        kind = abi.INTR_TYPE_NMI if vector == 2 else abi.INTR_TYPE_EXTERNAL_INTERRUPT
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, abi.INTR_INFO_VALID | kind << 8 | vector)
        return True

    def late(DriverObject, RegistryPath):
        machine.nt.mmu.write(machine.nt.processors[0].idtr.base + 16 * vector, bytes(16))
        __readmsr(0x174)
        return STATUS_SUCCESS

    hypervisor = Hypervisor(lambda: None, {RDMSR: rdmsr})
    loads = [lambda: machine.load_driver(hypervisor.DriverEntry, name="hv.sys")]
    loads.insert(0 if first else 1, lambda: machine.load_driver(DRIVERS / "hello.sys"))
    with ntsim.Machine(processors=1) as machine:
        for load in loads:
            load()
        refused = f"(?s)gate {vector:#x} of .* is not present"
        with pytest.raises(ntsim.errors.UnmodelledRoutine, match=refused):
            machine.load_driver(late, name="late.sys")
