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


@pytest.fixture
def importer(tmp_path: Path) -> Path:
    """A driver that imports from export.sys, which lies beside it."""
    (tmp_path / "Export.sys").write_bytes((ECHO.parent / "export.sys").read_bytes())
    hello = (ECHO.parent / "hello.sys").read_bytes().replace(b"DbgPrint\0", b"LibPrint\0")
    file = tmp_path / "one.sys"
    file.write_bytes(hello.replace(b"ntoskrnl.exe\0", b"export.sys\0\0\0"))
    return file


def test_imports_from_a_driver_beside_are_looked_up_there(capsys, importer) -> None:
    status, out, _ = run(capsys, importer)
    assert status == 0
    assert "export.sys     LibPrint                             another driver's\n" in out
    (importer.parent / "Export.sys").write_bytes(ECHO.read_bytes())
    status, out, _ = run(capsys, importer)
    assert status == 1
    assert "export.sys     LibPrint                             not exported by it\n" in out


def test_a_module_that_is_not_there_fails_the_load_and_says_what_it_is(capsys, importer) -> None:
    (importer.parent / "Export.sys").unlink()
    status, out, _ = run(capsys, importer)
    assert status == 1
    assert "another driver's, not there: the driver does not load unless that file" in out
    importer.write_bytes(importer.read_bytes().replace(b"export.sys", b"wdfldr.sys"))
    status, out, _ = run(capsys, importer)
    assert status == 1
    assert "wdfldr.sys is KMDF's loader: ntsim runs WDM drivers" in out
