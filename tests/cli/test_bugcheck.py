"""`ntsim bugcheck`."""

import pytest

from ntsim.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["bugcheck", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_forum_crash_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "4a", "00007fffa6aebea4", "2", "0", "fffff10f`9e5e2b80")
    assert (status, err) == (0, "")
    assert out.splitlines()[:8] == [
        "IRQL_GT_ZERO_AT_SYSTEM_SERVICE (4a)",
        "A system call returns to user mode at an IRQL above PASSIVE_LEVEL.",
        "",
        "Arguments:",
        "Arg1: 00007fffa6aebea4, Address of system function (system call routine)",
        "Arg2: 0000000000000002, Current IRQL: DISPATCH_LEVEL",
        "Arg3: 0000000000000000, 0",
        "Arg4: fffff10f9e5e2b80, 0",
    ]
    assert "In real dumps: Parameter 1 is the user-mode return address" in out


@pytest.mark.parametrize("text", ["4a", "0x4A", "4ah", "irql_gt_zero_at_system_service"])
def test_a_code_is_read_in_every_usual_spelling(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(capsys, text)[1].startswith("IRQL_GT_ZERO_AT_SYSTEM_SERVICE (4a)\n")


def test_parameters_may_be_pasted_with_their_commas(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "d1", "(0x28,", "0xff,", "0x1,", "0xFFFFF80002001234)")[1]
    assert "Arg2: 00000000000000ff, IRQL at the time: no level: interrupts were off" in out
    assert "Arg3: 0000000000000001, access: write" in out
    assert "Arg4: fffff80002001234, address of the instruction" in out


def test_the_row_for_the_values_is_shown_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "c4", "3b", "2", "ffff800000001000", "0")[1]
    assert "Arg2: 0000000000000002, current IRQL: DISPATCH_LEVEL" in out
    assert out.endswith("\nA wait was started at DISPATCH_LEVEL or above.\n")


def test_without_values_all_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "133")[1]
    assert "Arg1 = 0x0: One DPC or interrupt routine ran longer than it may." in out
    assert "Arg1 = 0x1: The processor spent too long" in out


def test_values_without_a_row_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No documented kind of it has these values." in run(capsys, "c4", "dead")[1]


def test_exception_codes_have_their_status_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "exception code: STATUS_ACCESS_VIOLATION" in run(capsys, "3b", "c0000005")[1]
    assert "exception code: STATUS_ACCESS_VIOLATION" in run(capsys, "3b", "ffffffffc0000005")[1]


def test_undocumented_parameters_are_bare_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not documented" in run(capsys, "f")[1]
    assert "Arg2: 0000000000000007\n" in run(capsys, "f", "1", "7")[1]


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ([], "Missing argument"),
        (["IRQL_NOT_LES_OR_EQUAL"], "did you mean IRQL_NOT_LESS_OR_EQUAL"),
        (["nonsense!"], "give its number, as in 4a"),
        (["c0ffee"], "look for its calls of KeBugCheckEx"),
        (["4a", "many"], "parameter 1, 'many'"),
        (["4a", "1", "1" * 17], "parameter 2"),
        (["4a", "1", "2", "3", "4", "5"], "four parameters, 5 were given"),
    ],
)
def test_bad_input_says_what_to_do_and_exits_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], advice: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert advice in err
