"""Breakpoints without a debugger are exceptions."""

from ntsim.wdm import *


def test_an_unhandled_breakpoint_stops_the_system(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: DbgBreakPoint())
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_BREAKPOINT)


def test_a_driver_may_handle_it(value_of) -> None:
    def work() -> list[int]:
        try:
            KdBreakPoint()
        except StructuredException as error:
            return [error.ExceptionCode, KdRefreshDebuggerNotPresent()]
        return []

    assert value_of(work) == [STATUS_BREAKPOINT, True]
