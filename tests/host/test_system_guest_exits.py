"""Every instruction of a Python driver in the running system as guest that can exit, with what the
exit says: SDM 3, "Information for VM Exits Due to Instruction Execution"."""

from __future__ import annotations

from itertools import pairwise

import pytest

from driver.vmcs import *
from driver.vmx_guest import vmread
from ntsim.abi import vmx_constants as abi
from ntsim.intrin import *
from ntsim.wdm import *
from tests.host.test_system_guest import Hypervisor, run

FIELDS = {
    "qualification": abi.EXIT_QUALIFICATION,
    "length": abi.VM_EXIT_INSTRUCTION_LEN,
    "instruction": abi.VM_EXIT_INSTRUCTION_INFO,
    "event": abi.VM_EXIT_INTR_INFO,
    "vectoring": abi.IDT_VECTORING_INFO,
    "linear": abi.GUEST_LINEAR_ADDRESS,
}
TABLE = abi.SECONDARY_DESCRIPTOR_TABLE_EXITING
TABLE_OPERAND = 2 << 7


def monitored():
    _mm_monitor(0xFFFF_8000_0000_1000, 0, 0)


def waited():
    _mm_mwait(0, 0)


def invalidated(kind):
    descriptor = ExAllocatePoolWithTag(NonPagedPool, 16, 1)
    RtlZeroMemory(descriptor, 16)
    _invpcid(kind, descriptor)


def stored(store):
    def operation():
        place = ExAllocatePoolWithTag(NonPagedPool, 16, 1)
        store(place)

    return operation


CASES = {
    "cpuid": (lambda: __cpuid(7), 10, 0, 0, {"length": 2}),
    "rdtsc": (__rdtsc, 16, abi.CPU_BASED_RDTSC_EXITING, 0, {"length": 2}),
    "rdpmc": (lambda: __readpmc(1), 15, abi.CPU_BASED_RDPMC_EXITING, 0, {"length": 2}),
    "rdtscp": (
        __rdtscp,
        51,
        abi.CPU_BASED_RDTSC_EXITING,
        abi.SECONDARY_ENABLE_RDTSCP,
        {"length": 3},
    ),
    "invlpg": (
        lambda: __invlpg(0x1234_5000),
        14,
        abi.CPU_BASED_INVLPG_EXITING,
        0,
        {"length": 3, "qualification": 0x1234_5000},
    ),
    "mov from dr6": (
        lambda: __readdr(6),
        29,
        abi.CPU_BASED_MOV_DR_EXITING,
        0,
        {"length": 3, "qualification": 6 | 1 << 4},
    ),
    "mov to dr7": (
        lambda: __writedr(7, 0x401),
        29,
        abi.CPU_BASED_MOV_DR_EXITING,
        0,
        {"length": 3, "qualification": 7},
    ),
    "monitor": (monitored, 39, abi.CPU_BASED_MONITOR_EXITING, 0, {"length": 3}),
    "mwait": (waited, 36, abi.CPU_BASED_MWAIT_EXITING, 0, {"length": 3}),
    "pause": (_mm_pause, 40, abi.CPU_BASED_PAUSE_EXITING, 0, {"length": 2}),
    "invpcid": (
        lambda: invalidated(2),
        58,
        abi.CPU_BASED_INVLPG_EXITING,
        abi.SECONDARY_ENABLE_INVPCID,
        {"length": 5, "instruction": 2 << 7 | 3 << 15 | 1 << 22 | 2 << 23 | 1 << 28},
    ),
    "wbinvd": (__wbinvd, 54, 0, abi.SECONDARY_WBINVD_EXITING, {"length": 2}),
    "vmcall": (lambda: __vmx_vmcall(1), 18, 0, 0, {"length": 3}),
    "sidt": (stored(__sidt), 46, 0, TABLE, {"length": 3, "instruction": 1 << 28 | TABLE_OPERAND}),
    "sgdt": (stored(_sgdt), 46, 0, TABLE, {"length": 3, "instruction": TABLE_OPERAND}),
    "out": (
        lambda: __outdword(0x71, 5),
        30,
        abi.CPU_BASED_UNCONDITIONAL_IO_EXITING,
        0,
        {"length": 1, "qualification": 0x71 << 16 | 3},
    ),
    "in": (
        lambda: __inword(0x71),
        30,
        abi.CPU_BASED_UNCONDITIONAL_IO_EXITING,
        0,
        {"length": 2, "qualification": 0x71 << 16 | 1 | 8},
    ),
    "mov from cr8": (
        lambda: __readcr8(),
        28,
        abi.CPU_BASED_CR8_STORE_EXITING,
        0,
        {"length": 3, "qualification": 8 | 1 << 4},
    ),
    "#GP of RDPMC": (
        lambda: excepted(lambda: __readpmc(0)),
        0,
        0,
        0,
        {"event": 0x8000_0B0D},
    ),
}


def excepted(operation):
    try:
        operation()
    except StructuredException as error:
        return error.ExceptionCode
    return None


def exits_of(case):
    """(reasons seen while the operation ran, everything the first of them says)."""
    operation, reason, primary, secondary, _ = CASES[case]
    said = []

    def look(regs):
        said.append({name: vmread(field) for name, field in FIELDS.items()})
        regs.Rax = regs.Rdx = 0
        return vmread(VM_EXIT_REASON) != 0

    def fields():
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) | primary
        bitmap = [(EXCEPTION_BITMAP, 1 << 13)] if reason == 0 else []
        words = [
            (CPU_BASED_VM_EXEC_CONTROL, bits | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS),
            (SECONDARY_VM_EXEC_CONTROL, secondary),
        ]
        return words + bitmap

    def once(regs):
        """The exception goes back to the guest."""
        look(regs)
        __vmx_vmwrite(EXCEPTION_BITMAP, 0)
        return False

    hypervisor = Hypervisor(operation, {reason: once if reason == 0 else look}, fields)
    with run(hypervisor):
        return hypervisor.reasons, said


@pytest.mark.parametrize("case", CASES)
def test_an_exit_says_what_the_instruction_was(case):
    _, reason, _, _, expected = CASES[case]
    reasons, said = exits_of(case)
    assert reason in reasons
    assert {name: value for name, value in said[0].items() if value} == expected


def test_debug_registers_without_a_control_are_the_processors():
    def guest():
        __writedr(0, 0x1234)
        return __readdr(0), __readdr(7), excepted(lambda: __readdr(4))

    hypervisor = Hypervisor(guest)
    with run(hypervisor):
        assert hypervisor.result == (0x1234, 0x400, STATUS_ILLEGAL_INSTRUCTION)


def test_invpcid_is_undefined_in_a_guest_that_is_not_allowed_it():
    hypervisor = Hypervisor(lambda: excepted(lambda: invalidated(2)))
    with run(hypervisor):
        assert hypervisor.result == STATUS_ILLEGAL_INSTRUCTION


def test_invpcid_without_invlpg_exiting_is_executed():
    def fields():
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        return [
            (CPU_BASED_VM_EXEC_CONTROL, bits),
            (SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_ENABLE_INVPCID),
        ]

    def guest():
        return excepted(lambda: invalidated(2)), excepted(lambda: invalidated(4))

    hypervisor = Hypervisor(guest, fields=fields)
    with run(hypervisor):
        assert hypervisor.result == (None, STATUS_PRIVILEGED_INSTRUCTION)
        assert abi.EXIT_REASON_INVPCID not in hypervisor.reasons


def test_general_detect_is_a_single_step_exception_of_the_driver():
    def guest():
        __writedr(7, 0x2400)
        return excepted(lambda: __readdr(0)), __readdr(7)

    hypervisor = Hypervisor(guest)
    with run(hypervisor):
        assert hypervisor.result == (0x8000_0004, 0x400)


def timed(guest, times, value=1000):
    """A hypervisor whose guest exits when the timer expires; `times` gets the TSC of each exit."""

    def fields():
        pin = vmread(PIN_BASED_VM_EXEC_CONTROL) | abi.PIN_BASED_ACTIVATE_VMX_PREEMPTION_TIMER
        return [(PIN_BASED_VM_EXEC_CONTROL, pin), (abi.GUEST_PREEMPTION_TIMER, value)]

    def expired(regs):
        times.append(__rdtsc())
        return False

    return Hypervisor(guest, {abi.EXIT_REASON_VMX_PREEMPTION_TIMER: expired}, fields)


def work(count):
    for _ in range(count):
        __nop()


def test_the_preemption_timer_exits_again_and_again_and_never_early():
    times = []
    hypervisor = timed(lambda: work(20_000), times)
    with run(hypervisor):
        steps = [b - a for a, b in pairwise(times)]
    shift = 7
    assert len(steps) > 3
    assert min(steps) > 999 << shift
    step = 270  # a step of the guest, and one of the handler between the exit and the entry
    assert max(steps) < (1001 << shift) + 8 * step


def test_the_preemption_timer_exits_from_hlt_and_the_guest_goes_on_waiting():
    """SDM 3, "VMX-Preemption Timer": it counts in HLT as well; the exit saves that state."""
    times, states = [], []

    def guest():
        before = __rdtsc()
        wait = LARGE_INTEGER()
        wait.QuadPart = -20_000
        KeDelayExecutionThread(KernelMode, FALSE, wait)
        return before, __rdtsc()

    hypervisor = timed(guest, times, value=2000)
    plain = hypervisor.on[abi.EXIT_REASON_VMX_PREEMPTION_TIMER]

    def expired(regs):
        states.append(vmread(abi.GUEST_ACTIVITY_STATE))
        return plain(regs)

    hypervisor.on[abi.EXIT_REASON_VMX_PREEMPTION_TIMER] = expired
    with run(hypervisor):
        before, after = hypervisor.result
        inside = [b - a for a, b in pairwise([t for t in times if before < t < after])]
        assert len(inside) >= 10
        assert min(inside) > 1999 << 7 and max(inside) < (2001 << 7) + 8 * 270
        assert states.count(abi.ACTIVITY_STATE_HLT) >= 10


def test_interrupts_off_do_not_hold_the_preemption_timer_up():
    times = []

    def guest():
        _disable()
        before = len(times)
        work(5_000)
        count = len(times) - before
        _enable()
        return count

    hypervisor = timed(guest, times)
    with run(hypervisor):
        assert hypervisor.result >= 1


def test_the_machine_comes_to_rest_with_the_preemption_timer_running():
    hypervisor = timed(lambda: None, [])
    with run(hypervisor) as machine:
        machine.run_until_idle()
        assert machine.bugcheck is None


def zeroed_page():
    page = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
    RtlZeroMemory(page, PAGE_SIZE)
    return page


def shadow_vmcs(field, value):
    """A shadow VMCS with one field written, cleared: its physical address."""
    page = zeroed_page()
    indicator = abi.VMCS_SHADOW_INDICATOR
    cast(page, PULONG)[0] = __readmsr(abi.IA32_VMX_BASIC) & 0x7FFF_FFFF | indicator
    own = ExAllocatePoolWithTag(NonPagedPool, 8, 1)
    address = MmGetPhysicalAddress(page)
    __vmx_vmptrst(own)
    assert not __vmx_vmclear(address) and not __vmx_vmptrld(address)
    assert not __vmx_vmwrite(field, value)
    assert not __vmx_vmclear(address) and not __vmx_vmptrld(cast(own, PULONGLONG)[0])
    return address


def test_a_drivers_vmread_and_vmwrite_reach_the_shadow_vmcs_without_an_exit():
    def fields():
        return [
            (abi.VMCS_LINK_POINTER, shadow_vmcs(abi.TSC_OFFSET, 0x1234)),
            (abi.VMREAD_BITMAP, MmGetPhysicalAddress(zeroed_page())),
            (abi.VMWRITE_BITMAP, MmGetPhysicalAddress(zeroed_page())),
            (
                CPU_BASED_VM_EXEC_CONTROL,
                vmread(CPU_BASED_VM_EXEC_CONTROL) | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
            ),
            (SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_VMCS_SHADOWING),
        ]

    def guest():
        first = __vmx_vmread(abi.TSC_OFFSET)
        return first, __vmx_vmwrite(abi.TSC_OFFSET, 5), __vmx_vmread(abi.TSC_OFFSET)

    hypervisor = Hypervisor(guest, fields=fields)
    with run(hypervisor):
        assert hypervisor.result == ((0, 0x1234), 0, (0, 5))
        assert not {abi.EXIT_REASON_VMREAD, abi.EXIT_REASON_VMWRITE} & set(hypervisor.reasons)


def test_an_nmi_window_exits_at_the_next_boundary():
    def window(regs):
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) & ~abi.CPU_BASED_NMI_WINDOW_EXITING
        __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, bits)
        return False

    def cpuid(regs):
        bits = vmread(CPU_BASED_VM_EXEC_CONTROL) | abi.CPU_BASED_NMI_WINDOW_EXITING
        __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, bits)
        return True

    def fields():
        bits = abi.PIN_BASED_NMI_EXITING | abi.PIN_BASED_VIRTUAL_NMIS
        return [(PIN_BASED_VM_EXEC_CONTROL, vmread(PIN_BASED_VM_EXEC_CONTROL) | bits)]

    on = {10: cpuid, abi.EXIT_REASON_NMI_WINDOW: window}
    hypervisor = Hypervisor(lambda: __cpuid(0) and None, on, fields)
    with run(hypervisor):
        assert hypervisor.reasons[:2] == [10, abi.EXIT_REASON_NMI_WINDOW]


def test_tsc_scaling_multiplies_before_it_offsets():
    def fields():
        bits = abi.CPU_BASED_USE_TSC_OFFSETTING | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        return [
            (CPU_BASED_VM_EXEC_CONTROL, vmread(CPU_BASED_VM_EXEC_CONTROL) | bits),
            (SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_USE_TSC_SCALING),
            (abi.TSC_MULTIPLIER, 1 << 58),
            (abi.TSC_OFFSET, 3),
        ]

    hypervisor = Hypervisor(__rdtsc, fields=fields)
    with run(hypervisor, cpu="i7-1065G7"):
        assert hypervisor.result & 0x3FF == 3
        assert hypervisor.result > 1 << 20
