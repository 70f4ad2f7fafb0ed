"""Kernel routines replaced by a value or by a function: Machine.stub, `ntsim run --stub`."""

import json
from pathlib import Path

import pytest

from ntsim.cli import main
from ntsim.errors import ConfigurationError, UnmodelledRoutine
from ntsim.wdm import *

HELLO = Path(__file__).parents[2] / "driver/c/hello.sys"


def test_a_function_takes_the_place_of_a_modelled_routine(ntsim_machine) -> None:
    machine, calls = ntsim_machine(), []

    def print_nothing(Format: int) -> int:
        calls.append(machine.nt.mmu.read(Format, 5))
        return 0

    machine.stub("DbgPrint", print_nothing)
    machine.load_driver(HELLO)
    assert machine.debug_output == []
    assert calls[0] == b"hello"


def test_a_routine_is_replaced_while_drivers_are_loaded(ntsim_machine) -> None:
    machine = ntsim_machine()
    driver = machine.load_driver(HELLO)
    assert len(machine.debug_output) == 2
    machine.stub("DbgPrint", 0)
    machine.unload_driver(driver)
    assert len(machine.debug_output) == 2


def test_a_routine_that_is_not_modelled_can_be_replaced_for_python_drivers(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath):
        DbgPrint("%d\n", IoAcquireKsrPersistentMemory(1, 2, 3, 4))
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.stub("IoAcquireKsrPersistentMemory", lambda *arguments: sum(arguments))
    machine.load_driver(DriverEntry)
    assert machine.debug_output == ["10"]
    with pytest.raises(UnmodelledRoutine):
        ntsim_machine().load_driver(DriverEntry)


def test_what_cannot_be_a_stub_is_refused(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(ConfigurationError, match="no number and no function"):
        machine.stub("DbgPrint", "0")
    machine.load_driver(HELLO)
    with pytest.raises(ConfigurationError, match="before the first"):
        machine.stub("NoSuchRoutine", 0)


def test_the_command_line_takes_values(capsys) -> None:
    assert main(["run", str(HELLO), "--stub", "DbgPrint=0x10", "--json"]) == 0
    assert '"debug_output":[]' in capsys.readouterr().out.replace(" ", "")
    assert main(["run", str(HELLO), "--stub", "DbgPrint"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_a_run_with_a_stub_is_replayed_with_it(tmp_path, capsys) -> None:
    recorded = tmp_path / "result.json"
    main(["run", str(HELLO), "--stub", "DbgPrint=0x10", "--stub", "ExFoo=-1", "--json"])
    recorded.write_text(capsys.readouterr().out)
    assert json.loads(recorded.read_text())["stubs"] == {"DbgPrint": "0x10", "ExFoo": "-0x1"}
    assert main(["replay", str(recorded), str(HELLO)]) == 0
    assert "--stub DbgPrint=0x10 --stub ExFoo=-0x1" in capsys.readouterr().out
    assert main(["replay", str(recorded), str(HELLO), "--stub", "DbgPrint=0x11"]) == 1
    out = capsys.readouterr().out
    assert "NOT the same as recorded" in out
    assert "stubs then: {'DbgPrint': '0x10', 'ExFoo': '-0x1'}" in out


def test_a_run_without_stubs_does_not_speak_of_them(capsys) -> None:
    assert main(["run", str(HELLO), "--json"]) == 0
    assert "stubs" not in json.loads(capsys.readouterr().out)


def test_a_misspelt_stub_is_told(capsys) -> None:
    assert main(["run", str(HELLO), "--stub", "DbgPrnt=0", "--stub", "DbgPrint=0", "--json"]) == 0
    err = capsys.readouterr().err
    assert err == "--stub DbgPrnt replaces nothing: no driver imports it; did you mean DbgPrint?\n"
