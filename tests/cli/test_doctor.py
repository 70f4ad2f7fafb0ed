"""`ntsim doctor`: all well here, and what it says when something is not."""

from collections.abc import Iterator

import pytest

import ntsim.lab.doctor
from ntsim.cli import main
from ntsim.lab.doctor import Finding, attempt


def test_this_computer_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    for line in ("a machine boots", "VMLAUNCH stops", "CPUID.1:ECX", "All well."):
        assert line in out


def test_a_failed_check_exits_1_and_says_what_was_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine() -> Iterator[Finding]:
        yield Finding("MOV to CR8 stops", False, "saw HLT, expected CR_WRITE")

    monkeypatch.setattr(ntsim.lab.doctor, "engine", engine)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL MOV to CR8 stops" in out
    assert "saw HLT, expected CR_WRITE" in out


def test_an_exception_is_a_failed_check() -> None:
    def work() -> str:
        raise OSError("no memfd for you")

    assert attempt("it works", work) == Finding("it works", False, "OSError: no memfd for you")
