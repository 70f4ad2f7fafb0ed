"""`ntsim imports FILE.sys`."""

from pathlib import Path

import pytest

from ntsim.cli import main

ECHO = Path(__file__).parents[2] / "driver/c/echo.sys"


def run(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[int, str, str]:
    status = main(["imports", str(path)])
    out, err = capsys.readouterr()
    return status, out, err


def test_every_import_is_listed_with_what_ntsim_knows_of_it(capsys) -> None:
    status, out, _ = run(capsys, ECHO)
    assert status == 0
    assert "ntoskrnl.exe   IofCompleteRequest                   modelled\n" in out
    assert out.endswith("\n10 imports\n  10 modelled\n")


def test_an_unknown_routine_is_named(capsys, tmp_path) -> None:
    file = tmp_path / "wrong.sys"
    file.write_bytes(ECHO.read_bytes().replace(b"IoCreateDevice\0", b"IoCreateDervic\0"))
    status, out, _ = run(capsys, file)
    assert status == 1
    assert "IoCreateDervic                       unknown to Windows" in out


def test_a_file_that_is_no_driver_is_a_usage_error(capsys, tmp_path) -> None:
    file = tmp_path / "text.sys"
    file.write_text("not a driver")
    status, _, err = run(capsys, file)
    assert status == 2
    assert "does not begin with MZ" in err
