"""What the errors of ntsim say to the person who meets them."""

import pickle

import pytest

import ntsim
from ntsim.errors import MachineClosed


def test_a_bug_check_shows_name_code_parameters_processor_and_irql() -> None:
    crash = ntsim.BugCheck(0x4A, [0x7FFFA6AEBEA4, 2, 0, 0xFFFFF10F9E5E2B80], processor=3, irql=2)
    assert str(crash) == (
        "IRQL_GT_ZERO_AT_SYSTEM_SERVICE (4a): 00007fffa6aebea4, 2, 0, fffff10f9e5e2b80"
        " (processor 3, IRQL 2)"
    )
    assert crash.name == "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"
    assert crash.parameters == (0x7FFFA6AEBEA4, 2, 0, 0xFFFFF10F9E5E2B80)


def test_a_fault_with_interrupts_off_shows_irql_0xff() -> None:
    assert str(ntsim.BugCheck(0xD1, [0, 0xFF, 0, 0], irql=0xFF)).endswith("IRQL 0xff)")


def test_an_unknown_code_is_still_a_bug_check() -> None:
    assert str(ntsim.BugCheck(0xC0FFEE, [1, 2, 3, 4])).startswith(
        "Unknown bugcheck code (c0ffee): 1, 2, 3, 4"
    )


def test_a_bug_check_needs_four_parameters() -> None:
    with pytest.raises(AssertionError, match="four parameters"):
        ntsim.BugCheck(0x4A, [1, 2, 3])


def test_a_hang_lists_who_waits_for_what() -> None:
    hang = ntsim.Hang(["thread 4 waits for KEVENT ffff800000001000"])
    assert hang.waits == ("thread 4 waits for KEVENT ffff800000001000",)
    assert str(hang).splitlines() == [
        "hang: nothing can run any more",
        "  thread 4 waits for KEVENT ffff800000001000",
    ]


def test_load_error_and_unmodelled_routine_name_status_and_prototype() -> None:
    assert str(ntsim.DriverLoadError("eh.py: DriverEntry failed", 0xC0000001)) == (
        "eh.py: DriverEntry failed (NTSTATUS 0xc0000001)"
    )
    assert "VOID KeFoo(VOID)" in str(ntsim.UnmodelledRoutine("KeFoo", "VOID KeFoo(VOID)"))


@pytest.mark.parametrize(
    "error",
    [
        ntsim.BugCheck(0xA, [1, 2, 3, 4], 5, 2),
        ntsim.Hang(["x"], "the app never ended"),
        ntsim.DriverLoadError("x", 0xC000007A),
        ntsim.UnmodelledRoutine("KeFoo", "VOID KeFoo(VOID)"),
        ntsim.ScheduleError("x"),
        ntsim.ConfigurationError("x"),
    ],
)
def test_errors_share_a_base_and_cross_process_boundaries(error: Exception) -> None:
    assert isinstance(error, ntsim.Error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_machine_closed_passes_through_except_exception() -> None:
    assert not issubclass(MachineClosed, Exception)
    assert "closed" in str(MachineClosed())


def test_a_load_error_knows_the_line_that_is_wrong() -> None:
    error = ntsim.DriverLoadError("eh.py:3: KeFoo is unknown", 0xC000007A, "eh.py", 3)
    assert (error.file, error.line) == ("eh.py", 3)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.file, copy.line) == ("eh.py", 3)
