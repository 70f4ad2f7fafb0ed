"""Compiler intrinsics: what the instruction does, and the faults of the privileged ones."""

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.intrin import *
from ntsim.wdm import *

PRIVILEGED, ILLEGAL = STATUS_PRIVILEGED_INSTRUCTION, STATUS_ILLEGAL_INSTRUCTION
IA32_EFER, IA32_LSTAR, IA32_FEATURE_CONTROL = 0xC0000080, 0xC0000082, 0x3A


def outcome(work):
    """What `work` returns, or the code of the exception it raises."""
    try:
        return work()
    except StructuredException as e:
        return hex(e.ExceptionCode)


def test_cpuid_tells_an_intel_processor_with_vmx_and_without_a_hypervisor(value_of) -> None:
    def body() -> list:
        _, ebx, ecx, edx = __cpuid(0)
        vendor = b"".join(part.to_bytes(4, "little") for part in (ebx, edx, ecx))
        features = __cpuid(1)[2]
        return [vendor, features >> 5 & 1, features >> 31 & 1, __cpuidex(1, 0)[2] == features]

    assert value_of(body) == [b"GenuineIntel", 1, 0, True]


def test_every_processor_has_its_own_apic_id(value_of) -> None:
    def body() -> list[int]:
        found = []
        for number in range(4):
            KeSetSystemAffinityThread(1 << number)
            found.append(__cpuid(1)[1] >> 24)
        return found

    assert len(set(value_of(body, processors=4))) == 4


def test_the_time_stamp_counter_goes_up_with_the_work_done(value_of) -> None:
    def body() -> bool:
        before = __rdtsc()
        KeStallExecutionProcessor(10)
        return 10 * 2700 <= __rdtsc() - before < 12 * 2700

    assert value_of(body) is True


@pytest.mark.parametrize("register", [IA32_EFER, IA32_LSTAR, IA32_FEATURE_CONTROL, 0x480])
def test_registers_that_exist_are_read(value_of, register: int) -> None:
    assert value_of(lambda: __readmsr(register)) > 0


def test_lstar_is_the_system_call_entry(run_driver) -> None:
    ran = run_driver(lambda: __readmsr(IA32_LSTAR))
    assert ran.machine.nt.describe_address(ran.value) == "nt!KiSystemCall64"


@pytest.mark.parametrize(
    "work",
    [
        lambda: __readmsr(0x12345),
        lambda: __writemsr(0x12345, 0),
        lambda: __writemsr(0x480, 0),
        lambda: __writemsr(IA32_LSTAR, 0x1234_5678_9ABC_DEF0),
        lambda: __writemsr(IA32_EFER, 1 << 40),
        lambda: __writecr0(0),
        lambda: __writecr0(1 << 40),
        lambda: __writecr4(1 << 40),
        lambda: __writecr3(1 << 60),
        lambda: __writecr8(16),
    ],
)
def test_what_the_processor_refuses_is_a_privileged_instruction_exception(value_of, work) -> None:
    assert value_of(lambda: outcome(work)) == hex(PRIVILEGED)


@pytest.mark.parametrize(
    "work",
    [
        lambda: __vmx_on(0x1000),
        lambda: __vmx_off(),
        lambda: __vmx_vmclear(0x1000),
        lambda: __vmx_vmread(0),
        lambda: __vmx_vmlaunch(),
        lambda: __vmx_vmcall(),
        lambda: __invept(2, (ULONGLONG * 2)()),
        lambda: __invvpid(2, (ULONGLONG * 2)()),
    ],
)
def test_vmx_instructions_outside_vmx_operation_are_illegal(value_of, work) -> None:
    assert value_of(lambda: outcome(work)) == hex(ILLEGAL)


def test_vmptrst_stores_all_ones_without_a_current_vmcs_and_returns_0(value_of) -> None:
    def body() -> tuple[int, int]:
        __writecr4(__readcr4() | 1 << 13)
        region = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(region, PAGE_SIZE)
        cast(region, POINTER(ULONG))[0] = __readmsr(0x480) & 0x7FFFFFFF
        irql = KeRaiseIrqlToDpcLevel()
        assert __vmx_on(MmGetPhysicalAddress(region)) == 0
        pointer = ULONGLONG()
        status = __vmx_vmptrst(pointer)
        __vmx_off()
        KeLowerIrql(irql)
        return status, pointer[0]

    assert value_of(body) == (0, MAXULONG64)


def test_debugbreak_is_a_breakpoint_exception_without_a_debugger(value_of) -> None:
    assert value_of(lambda: outcome(__debugbreak)) == hex(STATUS_BREAKPOINT)


def test_int_2ch_is_a_failed_assertion(value_of) -> None:
    assert value_of(lambda: outcome(__int2c)) == hex(STATUS_ASSERTION_FAILURE)


def test_control_registers_hold_what_is_written(value_of) -> None:
    def body() -> list:
        old = __readcr4()
        __writecr4(old | 1 << 13)
        changed = __readcr4() == old | 1 << 13
        __writecr4(old)
        return [changed, __readcr4() == old, __readcr0() >> 31, __readcr3() != 0]

    assert value_of(body) == [True, True, 1, True]


def test_the_flags_show_whether_interrupts_are_on(value_of) -> None:
    def body() -> list[int]:
        seen = [__readeflags() >> 9 & 1]
        _disable()
        seen.append(__readeflags() >> 9 & 1)
        _enable()
        return [*seen, __readeflags() >> 9 & 1]

    assert value_of(body) == [1, 0, 1]


def test_the_descriptor_tables_are_windows(value_of) -> None:
    def body() -> list:
        gdtr, idtr = (UCHAR * 10)(), (UCHAR * 10)()
        _sgdt(gdtr)
        __sidt(idtr)
        base = int.from_bytes(read_bytes(idtr + 2, 8), "little")
        gate = read_bytes(base + 14 * 16, 16)
        handler = int.from_bytes(gate[0:2] + gate[6:12], "little")
        return [
            int.from_bytes(read_bytes(idtr, 2), "little"),
            [__readcs(), __readss(), __readds(), __readfs(), __readgs(), _str(), _sldt()],
            handler,
            __segmentlimit(0x18),
        ]

    limit, selectors, handler, data_limit = value_of(body)
    assert limit == 0xFFF
    assert selectors == [0x10, 0x18, 0x2B, 0x53, 0x2B, 0x40, 0]
    assert handler >> 47 == 0x1FFFF
    assert data_limit == 0xFFFF_FFFF


def test_the_page_fault_gate_points_at_nts_handler(run_driver) -> None:
    def body() -> int:
        idtr = (UCHAR * 10)()
        __sidt(idtr)
        base = int.from_bytes(read_bytes(idtr + 2, 8), "little")
        gate = read_bytes(base + 14 * 16, 16)
        return int.from_bytes(gate[0:2] + gate[6:12], "little")

    ran = run_driver(body)
    assert ran.machine.nt.describe_address(ran.value) == "nt!KiPageFault"


def test_ports_are_written_and_read(value_of) -> None:
    def body() -> list[int]:
        __outbyte(0x3F8 + 7, 0x5A)
        return [__inbyte(0x3F8 + 7), __inbyte(0x1234), __inword(0x1234), __indword(0x1234)]

    assert value_of(body)[1:] == [0xFF, 0xFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize(
    "work",
    [
        lambda: __readmsr("register"),
        lambda: __writemsr(0x10),
        lambda: __writecr8(None),
        lambda: __outbyte(0x3F8),
        lambda: __vmx_vmwrite(0, "text"),
        lambda: save_stack(1.5, lambda: 0),
        lambda: save_stack(PVOID(), 5),
        lambda: _sgdt("here"),
    ],
)
def test_a_wrong_operand_is_a_python_error_of_the_driver(bugcheck_of, work) -> None:
    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[0]) == (0x7E, 0xE0507945)


@pytest.mark.parametrize(
    "work",
    [
        lambda: __readmsr(0x10),
        lambda: __writecr8(2),
        lambda: _disable(),
        lambda: __inbyte(0x3F8),
        lambda: __vmx_on(0x1000),
        lambda: __halt(),
    ],
)
def test_a_privileged_instruction_in_an_app_ends_the_app(ntsim_machine, work) -> None:
    machine = ntsim_machine()
    process = machine.run(work, name="app.exe")
    assert process.exit_code == PRIVILEGED
    assert machine.bugcheck is None


def test_an_app_may_use_what_is_not_privileged(ntsim_machine) -> None:
    found = []
    process = ntsim_machine().run(lambda: found.append((__cpuid(0)[1], __rdtsc() > 0)))
    assert (process.exit_code, found) == (0, [(int.from_bytes(b"Genu", "little"), True)])
    assert win32.GENERIC_READ


def test_ports_are_read_and_written_one_by_one_and_in_strings(value_of) -> None:
    def body() -> list:
        buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 0x31313131)
        write_bytes(buffer, bytes(range(8)))
        __outbytestring(0x2F0, buffer, 8)
        __outword(0x2F2, 0x12345)
        __inbytestring(0x2F1, buffer, 4)
        __indwordstring(0x2F4, buffer + 4, 1)
        absent = [__inbyte(0x2F0), __inword(0x2F0), __indword(0x2F0)]
        return [absent, read_bytes(buffer, 8)]

    # nothing answers there: an absent device reads as ones
    assert value_of(body) == [[0xFF, 0xFFFF, 0xFFFF_FFFF], b"\xff" * 8]


def test_writeeflags_turns_interrupts_off_and_on(value_of) -> None:
    def body() -> list:
        before = __readeflags()
        __writeeflags(before & ~0x200 | 1)
        off = __readeflags()
        __writeeflags(before)
        return [bool(flags & 0x200) for flags in (before, off, __readeflags())] + [off & 1]

    assert value_of(body) == [True, False, True, 1]


def test_instructions_that_the_processor_does_not_have_are_undefined(value_of) -> None:
    def body() -> list:
        return [outcome(lambda: _xgetbv(0)), outcome(lambda: _xsetbv(0, 3))]

    assert value_of(body) == [hex(ILLEGAL)] * 2


def test_fastfail_is_0x139_with_its_code(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(lambda DriverObject, RegistryPath: __fastfail(3), name="fail.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x139, 3)


@pytest.mark.parametrize("invalidate", [lambda k, d: __invept(k, d), lambda k, d: __invvpid(k, d)])
def test_invept_and_invvpid_return_0_or_fail_with_2_for_a_type_there_is_not(value_of, invalidate):
    """SDM 3, "INVEPT", "INVVPID": 2 is VMfailInvalid, there being no current VMCS."""

    def body() -> tuple[int, int]:
        descriptor = (ULONGLONG * 2)()
        __writecr4(__readcr4() | 1 << 13)
        region = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlZeroMemory(region, PAGE_SIZE)
        cast(region, POINTER(ULONG))[0] = __readmsr(0x480) & 0x7FFFFFFF
        irql = KeRaiseIrqlToDpcLevel()
        assert __vmx_on(MmGetPhysicalAddress(region)) == 0
        found = invalidate(2, descriptor), invalidate(9, descriptor)
        __vmx_off()
        KeLowerIrql(irql)
        return found

    assert value_of(body) == (0, 2)
