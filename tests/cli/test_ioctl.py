"""`ntsim ioctl`."""

import pytest

from ntsim.cli import main

EH_RUN = (
    "CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_IN_DIRECT, FILE_READ_ACCESS | FILE_WRITE_ACCESS)"
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["ioctl", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_code_comes_apart(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "0x22e001")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0] == f"0x0022e001 = {EH_RUN}"
    assert lines[2].split()[:4] == ["device", "type", "0x0022", "FILE_DEVICE_UNKNOWN"]
    assert lines[3].startswith("function     0x800   vendors' range")
    assert "METHOD_IN_DIRECT: input in SystemBuffer" in lines[4]
    assert "GENERIC_READ | GENERIC_WRITE" in lines[5]


@pytest.mark.parametrize("text", ["0x0022E001", "0022E001", "22e001h", "2285569", "0x22e001UL"])
def test_a_code_is_read_in_every_usual_spelling(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(capsys, text)[1].startswith("0x0022e001 = ")


def test_digits_alone_are_decimal_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "222003")
    assert status == 0
    assert out.startswith("0x00036333 = ")
    assert "write 0x222003" in err


@pytest.mark.parametrize(
    "parts",
    [
        ("FILE_DEVICE_UNKNOWN", "0x800", "METHOD_IN_DIRECT", "FILE_READ_ACCESS|FILE_WRITE_ACCESS"),
        ("unknown", "2048", "in_direct", "read+write"),
        ("0x22", "0x800", "1", "3"),
        ("UNKNOWN", "0x800", "IN-DIRECT", "FILE_READ_DATA | FILE_WRITE_DATA"),
    ],
)
def test_names_and_numbers_make_the_same_code(
    capsys: pytest.CaptureFixture[str], parts: tuple[str, ...]
) -> None:
    assert run(capsys, *parts)[1].startswith(f"0x0022e001 = {EH_RUN}")


def test_a_vendor_device_type_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "40000", "0x903", "NEITHER", "ANY")
    assert status == 0
    assert out.startswith("0x9c40240f = CTL_CODE(0x9c40, 0x903, METHOD_NEITHER, FILE_ANY_ACCESS)")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["zz"], "write a control code as in 0x22e001"),
        (["0x1ffffffff"], "32 bits"),
        ([], "Missing argument"),
        (["1", "2"], "one code to take apart"),
        (["UNKNOW", "0x800", "0", "0"], "did you mean FILE_DEVICE_UNKNOWN"),
        (["0x10000", "0x800", "0", "0"], "the largest is 0xffff"),
        (["0x22", "0x1000", "0", "0"], "the largest is 0xfff"),
        (["0x22", "many", "0", "0"], "use 0 to 0xfff"),
        (["0x22", "0x800", "DIRECT", "0"], "METHOD_OUT_DIRECT"),
        (["0x22", "0x800", "4", "0"], "the largest is 0x3"),
        (["0x22", "0x800", "0", "READ+WRIT"], "FILE_READ_ACCESS"),
    ],
)
def test_bad_input_says_what_to_do_and_exits_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], advice: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert advice in err
    assert "ntsim ioctl --help" in err
