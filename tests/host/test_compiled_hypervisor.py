"""Drivers in machine code that are hypervisors: of the running system, and of a guest of their own.

virtualise.sys does what SDM 3, "VMX Non-Root Operation", lets a driver do to the running system;
vmx_forum.sys is the forum's driver (see driver/eh.py) with its two routines in assembly.
"""

from pathlib import Path

import pytest

from driver.c.echo_ioctl import ECHO_BUFFERED, ECHO_IN_DIRECT, ECHO_NEITHER, ECHO_OUT_DIRECT
from driver.c.virtualise_ioctl import (
    VIRTUALISE_CPUID,
    VIRTUALISE_EXITS,
    VIRTUALISE_OFF,
    VIRTUALISE_ON,
)
from ntsim.errors import BugCheck
from ntsim.intrin import __cpuid
from ntsim.lab.run import Options, run
from ntsim.lab.target import from_paths
from ntsim.wdm import STATUS_SUCCESS
from ntsim.win32 import *

REPOSITORY = Path(__file__).parents[2]
DRIVERS = REPOSITORY / "driver/c"
SIGNATURE = b"\x00\x00\x00\x40runs below  "
UNLOADABLE = ("hello", "timer", "queue")
TEXT = b"0123456789abcdef"


def open_device(name: str) -> int:
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(f"\\\\.\\{name}", access, 0, None, OPEN_EXISTING, 0, None)


def control(machine, code: int, size: int = 0) -> bytes:
    """One request to virtualise.sys, by an app of its own."""
    found = []

    def app() -> None:
        handle = open_device("Virtualise")
        found.append(DeviceIoControl(handle, code, None, size))
        CloseHandle(handle)

    process = machine.run(app)
    assert (process.exit_code, process.stderr) == (0, "")
    return bytes(found[0])


def virtualised(machine):
    driver = machine.load_driver(DRIVERS / "virtualise.sys")
    control(machine, VIRTUALISE_ON)
    return driver


def modes(machine) -> set[str]:
    return {processor.vmx.mode_name for processor in machine.nt.processors}


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (2, 1), (4, 2), (4, 3)])
def test_the_system_goes_on_as_guest_of_a_compiled_driver_and_comes_back(
    ntsim_machine, processors, seed
) -> None:
    machine = ntsim_machine(processors=processors, seed=seed)
    echo = machine.load_driver(DRIVERS / "echo.sys")
    driver = machine.load_driver(DRIVERS / "virtualise.sys")
    before = control(machine, VIRTUALISE_CPUID, 16)
    control(machine, VIRTUALISE_ON)
    assert modes(machine) == {"non-root"}

    def app() -> None:
        handle = open_device("Echo")
        for code in (ECHO_BUFFERED, ECHO_OUT_DIRECT, ECHO_NEITHER) * 5:
            assert DeviceIoControl(handle, code, TEXT, 16) == TEXT
        buffer = bytearray(16)
        DeviceIoControl(handle, ECHO_IN_DIRECT, TEXT, buffer)
        assert buffer == TEXT
        CloseHandle(handle)

    processes = [machine.start(app) for _ in range(3)]
    machine.run_to_exit(processes)
    for process in processes:
        assert (process.exit_code, process.stderr) == (0, "")
    assert control(machine, VIRTUALISE_CPUID, 16) == SIGNATURE != before
    counts = memoryview(control(machine, VIRTUALISE_EXITS, 8 * processors)).cast("Q")
    assert len(counts) == processors and min(counts) > 0
    machine.unload_driver(driver)
    assert modes(machine) == {"off"}
    machine.unload_driver(echo)


def test_it_can_be_taken_away_and_put_below_again(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)
    virtualised(machine)
    for _ in range(3):
        control(machine, VIRTUALISE_OFF)
        assert modes(machine) == {"off"}
        assert control(machine, VIRTUALISE_CPUID, 16) != SIGNATURE
        control(machine, VIRTUALISE_ON)
        assert control(machine, VIRTUALISE_CPUID, 16) == SIGNATURE


def test_python_drivers_see_the_cpuid_of_a_handler_in_machine_code(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)
    virtualised(machine)
    seen = []

    def entry(DriverObject, RegistryPath):
        seen.append(__cpuid(0x40000000))
        return STATUS_SUCCESS

    machine.load_driver(entry, name="look.sys")
    assert b"".join(value.to_bytes(4, "little") for value in seen[0]) == SIGNATURE


@pytest.mark.parametrize(
    "name",
    ["hello", "seh", "unwind", "system", "timer", "queue", "race", "hook", "cookie"],
)
def test_compiled_drivers_do_as_guests_what_they_do_without_a_hypervisor(
    ntsim_machine, name
) -> None:
    def lines(below) -> list[str]:
        machine = ntsim_machine(processors=2, seed=3)
        below(machine)
        driver = machine.load_driver(DRIVERS / f"{name}.sys")
        if name in UNLOADABLE:
            machine.unload_driver(driver)
        return list(machine.debug_output)

    assert lines(virtualised) == lines(lambda machine: None)


def test_vmx_instructions_of_the_guest_are_undefined_if_the_handler_says_so(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)
    virtualised(machine)
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DRIVERS / "guest.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, 0xC000001D)


def test_the_same_seed_gives_the_same_run_of_a_virtualised_system(ntsim_machine) -> None:
    def events() -> list[str]:
        machine = ntsim_machine(seed=9)
        virtualised(machine)
        machine.load_driver(DRIVERS / "race.sys")
        control(machine, VIRTUALISE_OFF)
        return [str(event) for event in machine.events]

    assert events() == events()


# The forum's driver


def forum(driver: Path):
    return run(from_paths(str(driver), [str(REPOSITORY / "userapp/ehapp.py")]), Options())


def test_the_forums_driver_in_c_and_assembly_ends_in_0x4a_as_in_python() -> None:
    seen = []
    for driver in (DRIVERS / "vmx_forum.sys", REPOSITORY / "driver/eh.py"):
        with forum(driver) as made:
            error = made.machine.bugcheck
            text = made.machine.report().to_text()
        seen.append((error.code, error.parameters))
        assert "SYMBOL_NAME:  ntdll!NtDeviceIoControlFile+14" in text
        assert "Interrupts were off as well" in text
        assert "raised the IRQL from PASSIVE_LEVEL (0) to DISPATCH_LEVEL (2)" in text
    assert seen[0] == seen[1]
    assert (seen[0][0], seen[0][1][1:3]) == (0x4A, (2, 0))


def test_the_forums_driver_repaired_lets_the_app_resume_its_guest() -> None:
    with forum(DRIVERS / "vmx_forum_fixed.sys") as made:
        assert made.machine.bugcheck is None
        (app,) = made.result.apps
    assert app.exit_code == 0
    assert app.stdout.splitlines()[2:] == [
        "  +0xe: OUT of 0x41 (16 bits), port 0x3f8",
        "resuming the guest",
        "  +0x10: HLT, rax = 0x41",
    ]
