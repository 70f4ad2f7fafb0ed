"""DbgPrint: which messages are shown, and how they become lines."""

import pytest

from ntsim.wdm import *


def lines(run_driver, work, **options) -> list[str]:
    return run_driver(work, **options).machine.debug_output


def test_every_call_is_a_line_and_newlines_make_more(run_driver) -> None:
    def work() -> None:
        DbgPrint("one\n")
        DbgPrint("two")
        DbgPrint("three\nfour\r\n")
        DbgPrint("")
        DbgPrint("\n")

    assert lines(run_driver, work) == ["one", "two", "three", "four", ""]


def test_a_message_is_cut_at_512_bytes(run_driver) -> None:
    """WDK DbgPrint: a single call transmits 512 bytes."""

    def work() -> list[int]:
        return [DbgPrint("%s", "x" * 511), DbgPrint("%s", "y" * 512), DbgPrint("z" * 10000)]

    done = run_driver(work)
    assert done.value == [0, 0, 0]
    assert [len(line) for line in done.machine.debug_output] == [511, 511, 511]


def test_dbgprint_is_dbgprintex_of_the_default_component_at_info_level(run_driver) -> None:
    """WDK DbgPrint, Remarks."""

    def work() -> None:
        DbgSetDebugFilterState(DPFLTR_DEFAULT_ID, 0xFFFFFFFF, FALSE)
        DbgPrint("hidden")
        DbgSetDebugFilterState(DPFLTR_DEFAULT_ID, DPFLTR_INFO_LEVEL, TRUE)
        DbgPrint("shown")
        DbgPrintEx(DPFLTR_DEFAULT_ID, DPFLTR_TRACE_LEVEL, "hidden")
        DbgPrintEx(DPFLTR_DEFAULT_ID, DPFLTR_INFO_LEVEL, "shown too")

    assert lines(run_driver, work) == ["shown", "shown too"]


def test_without_a_mask_only_error_level_is_shown(run_driver) -> None:
    """Kd_WIN2000_Mask is 1: bit 0 of every component (WDK, Reading and Filtering ...)."""

    def work() -> None:
        for level in range(4):
            DbgPrintEx(DPFLTR_IHVDRIVER_ID, level, "level %d", level)

    assert lines(run_driver, work) == ["level 0"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [(3, True), (2, False), (31, True), (0x8, True), (0x20, False), (0x8000_0028, True)],
)
def test_levels_to_31_are_bit_numbers_and_larger_ones_masks(run_driver, level, shown) -> None:
    def work() -> list[int]:
        DbgSetDebugFilterState(DPFLTR_IHVVIDEO_ID, 0x80000000 | 0x100, TRUE)
        DbgSetDebugFilterState(DPFLTR_IHVVIDEO_ID, 3, TRUE)
        DbgPrintEx(DPFLTR_IHVVIDEO_ID, level, "seen")
        return DbgQueryDebugFilterState(DPFLTR_IHVVIDEO_ID, level)

    done = run_driver(work)
    expected = shown if level != 0x8 else True  # 8 is a bit number too: bit 8
    assert done.value == expected
    assert done.machine.debug_output == ["seen"] * expected


def test_an_unknown_component_is_an_invalid_parameter(value_of) -> None:
    assert value_of(lambda: DbgPrintEx(5000, 0, "x")) == STATUS_INVALID_PARAMETER_1


def test_the_masks_are_memory_that_a_debugger_can_change(run_driver) -> None:
    done = run_driver(lambda: DbgPrintEx(DPFLTR_IHVBUS_ID, 3, "hidden"))
    kernel = done.machine.nt
    kernel.mmu.write(kernel.kd.masks.address("IHVBUS"), b"\xff\xff\xff\xff")
    done.machine.load_driver(lambda driver, path: DbgPrintEx(DPFLTR_IHVBUS_ID, 3, "shown"))
    assert done.machine.debug_output == ["shown"]


def test_output_is_an_event_with_its_source_line(run_driver) -> None:
    done = run_driver(lambda: DbgPrint("hello\n"))
    event = next(e for e in done.machine.events if type(e).__name__ == "DebugPrinted")
    assert event.line == "hello"
    assert "test_print.py:" in event.where


def test_unicode_is_not_converted_above_passive_level(run_driver) -> None:
    """WDK DbgPrint: Unicode format codes only at PASSIVE_LEVEL."""

    def work() -> None:
        name = UNICODE_STRING("name")
        old = KeRaiseIrqlToDpcLevel()
        DbgPrint("[%wZ] [%S] [%s]", name, "wide", "narrow")
        KeLowerIrql(old)
        DbgPrint("[%wZ]", name)

    done = run_driver(work)
    assert done.machine.debug_output == ["[] [] [narrow]", "[name]"]
    assert [finding.rule for finding in done.machine.findings] == ["FormatArguments"] * 2


def test_too_few_arguments_read_as_zero_and_are_a_finding(run_driver) -> None:
    done = run_driver(lambda: DbgPrint("%d %s %d\n", 1))
    assert done.machine.debug_output == ["1 (null) 0"]
    (finding,) = done.machine.findings
    assert finding.routine == "DbgPrint"
    assert "takes 3 arguments, 1 were given" in finding.text


def test_a_bad_user_pointer_ends_the_call_with_its_exception(value_of) -> None:
    assert value_of(lambda: DbgPrint("%s", 0x10000)) == STATUS_ACCESS_VIOLATION


def test_the_format_may_lie_in_memory(run_driver) -> None:
    def work() -> None:
        block = ExAllocatePoolWithTag(NonPagedPool, 32, 0x74736554)
        write_bytes(block, b"%d-%d\0")
        DbgPrint(block, 1, 2)
        vDbgPrintEx(DPFLTR_DEFAULT_ID, 0, block, [3, 4])
        vDbgPrintExWithPrefix("p: ", DPFLTR_DEFAULT_ID, 0, block, [5, 6])
        KdPrint("%d", 7)

    assert lines(run_driver, work) == ["1-2", "3-4", "p: 5-6", "7"]
