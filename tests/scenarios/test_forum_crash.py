"""The forum's thread in detail, and what its driver does with the raise taken out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ntsim.cli import main
from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import find
from ntsim.lab.target import from_paths
from ntsim.nt.events import InterruptsHeldOff

REPOSITORY = Path(__file__).resolve().parents[2]
RAISE = "    vcpu.OldIrql = KeRaiseIrqlToDpcLevel()\n"
LOWER = "        KeLowerIrql(vcpu.OldIrql)\n"


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = main(["run", "osr-vtx-0x4a", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_object_that_the_command_line_prints(capsys: pytest.CaptureFixture[str]) -> None:
    status, result = result_of(capsys)
    assert (status, result["outcome"], result["expected"]) == (0, "bugcheck", True)
    assert result["bugcheck"]["code"] == "0x4a"
    assert result["bugcheck"]["name"] == "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"
    assert result["bugcheck"]["parameters"][1:3] == ["0x2", "0x0"]
    (app,) = result["apps"]
    assert (app["name"], app["exit_code"]) == ("ehapp.exe", None)
    assert app["stdout"].splitlines()[-1] == "launching the guest"


def test_the_stack_crosses_from_the_app_to_the_system_call_exit() -> None:
    with run(find("osr-vtx-0x4a").target()) as made:
        text = made.machine.report().to_text()
    wanted = [
        "nt!KeBugCheckEx",
        "nt!KiBugCheckDispatch",
        "nt!KiSystemServiceExit",
        "ntdll!NtDeviceIoControlFile+0x14",
        "KERNELBASE!DeviceIoControl+0x6b",
        "KERNEL32!DeviceIoControlImplementation+0x81",
        "ehapp!main",
    ]
    places = [text.find(f": {name}") for name in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert "SYMBOL_NAME:  ntdll!NtDeviceIoControlFile+14" in text
    assert "IMAGE_NAME:  ntdll.dll" in text


def test_why_names_the_raise_and_the_abandoned_stack() -> None:
    with run(find("osr-vtx-0x4a").target()) as made:
        _, _, why = made.machine.report().to_text().partition("WHY")
    assert "eh.py" in why
    assert "KeRaiseIrqlToDpcLevel" in why
    assert "restore_stack" in why


def test_fixed_the_app_sees_the_out_and_the_hlt(capsys: pytest.CaptureFixture[str]) -> None:
    status, result = result_of(capsys, "--fixed")
    assert (status, result["outcome"], result["bugcheck"]) == (0, "completed", None)
    (app,) = result["apps"]
    assert app["exit_code"] == 0
    assert app["stdout"].splitlines()[2:] == [
        "  +0xe: OUT of 0x41 (16 bits), port 0x3f8",
        "resuming the guest",
        "  +0x10: HLT, rax = 0x41",
    ]


def test_without_the_raise_there_is_no_0x4A_and_interrupts_stay_off(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "driver", tmp_path / "driver")
    eh = tmp_path / "driver" / "eh.py"
    source = eh.read_text()
    assert source.count(RAISE) == 1
    assert source.count(LOWER) == 2
    eh.write_text(source.replace(RAISE, "").replace(LOWER, ""))
    target = from_paths(str(eh), [str(REPOSITORY / "userapp" / "ehapp.py")])
    with run(target, Options(processors=1)) as made:
        assert made.machine.bugcheck.code == 0x109  # the GDT's limit, minutes later
        assert [app.exit_code for app in made.result.apps] == [0]
        assert any(isinstance(event, InterruptsHeldOff) for event in made.machine.events)
        assert not made.result.expected
        assert "nterrupts" in " ".join(each.text for each in made.result.findings)
