"""RtlAssert. Source: WDK ASSERT."""

from ntsim.wdm import *


def test_a_failed_assertion_is_printed_and_breaks(run_driver) -> None:
    def body() -> int:
        text = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        write_bytes(text, b"Count != 0\0drv.c\0")
        try:
            RtlAssert(text, text + 11, 42, NULL)
        except StructuredException as e:
            return e.ExceptionCode
        return 0

    outcome = run_driver(body)
    assert outcome.value == STATUS_BREAKPOINT
    assert "*** Assertion failed: Count != 0" in outcome.machine.debug_output
    assert "***   Source File: drv.c, line 42" in outcome.machine.debug_output


def test_nobody_handles_it_in_driver_entry(bugcheck_of) -> None:
    def body() -> None:
        text = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        write_bytes(text, b"x\0")
        RtlAssert(text, text, 1, "why: ")

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_BREAKPOINT)
