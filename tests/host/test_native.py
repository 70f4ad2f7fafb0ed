"""Compiled drivers run: calls both ways, waits, interrupts, privileged instructions, mistakes.

The drivers are our own C in driver/c.
"""

from pathlib import Path

import pytest

from driver.c.echo_ioctl import ECHO_BUFFERED, ECHO_IN_DIRECT, ECHO_NEITHER, ECHO_OUT_DIRECT
from driver.c.mistakes_ioctl import CODES
from ntsim.errors import BugCheck, DriverLoadError, UnmodelledRoutine
from ntsim.win32 import *

DRIVERS = Path(__file__).parents[2] / "driver/c"
TEXT = b"0123456789abcdef"
ERROR_NOACCESS = 998


def open_device(name: str) -> int:
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(f"\\\\.\\{name}", access, 0, None, OPEN_EXISTING, 0, None)


def load(machine, name: str):
    return machine.load_driver(DRIVERS / f"{name}.sys")


def output(machine, name: str) -> list[str]:
    load(machine, name)
    return machine.debug_output


def test_a_compiled_driver_is_loaded_and_unloaded(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.unload_driver(load(machine, "hello"))
    service = r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\hello"
    assert machine.debug_output == [
        f"hello from {service}",
        "-1 2 3 123456789abc text c 0000000000000010",
        "bye",
    ]


def test_a_driver_can_be_loaded_again_after_its_unload(ntsim_machine) -> None:
    machine = ntsim_machine()
    for _ in range(3):
        machine.unload_driver(load(machine, "hello"))
    assert machine.debug_output.count("bye") == 3


@pytest.mark.parametrize("code", [ECHO_BUFFERED, ECHO_IN_DIRECT, ECHO_OUT_DIRECT, ECHO_NEITHER])
def test_every_transfer_method_reaches_the_driver(ntsim_machine, code) -> None:
    machine = ntsim_machine()
    driver = load(machine, "echo")

    def app() -> None:
        handle = open_device("Echo")
        if code == ECHO_IN_DIRECT:
            buffer = bytearray(16)
            DeviceIoControl(handle, code, TEXT, buffer)
            assert buffer == TEXT
        else:
            assert DeviceIoControl(handle, code, TEXT, 16) == TEXT
        CloseHandle(handle)

    process = machine.run(app)
    assert (process.exit_code, process.stderr) == (0, "")
    machine.unload_driver(driver)


@pytest.mark.parametrize("address", [0x1000, 0xFFFF_F800_0000_0000, 0x7FFF_FFFF_0000])
def test_a_bad_user_address_is_caught_by_the_drivers_handler(ntsim_machine, address) -> None:
    machine = ntsim_machine()
    load(machine, "echo")

    def app() -> None:
        handle = open_device("Echo")
        for given in ((address, 16), 16), (TEXT, (address, 16)):
            with pytest.raises(error) as caught:
                DeviceIoControl(handle, ECHO_NEITHER, *given)
            assert caught.value.winerror == ERROR_NOACCESS
        assert DeviceIoControl(handle, ECHO_NEITHER, TEXT, 16) == TEXT

    process = machine.run(app)
    assert (process.exit_code, process.stderr) == (0, "")


@pytest.mark.parametrize("seed", range(4))
def test_threads_timers_dpcs_and_work_items_run_compiled_routines(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    machine.unload_driver(load(machine, "timer"))
    assert machine.debug_output == [
        *(f"tick {count} at IRQL 2" for count in (1, 2, 3)),
        "work item at IRQL 0, context 0000000000001234",
        "thread 0000000000000007: 0 after 3 ticks",
        "unloaded",
    ]
    assert 210_000 <= machine.nt.il.now < 1_000_000  # due in 1 ms, then every 10 ms


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_race_in_compiled_code_loses_updates_and_a_spin_lock_does_not(ntsim_machine, seed):
    lines = output(ntsim_machine(seed=seed), "race")
    assert lines == ["without lock lost, with lock 40000"]


def test_the_same_seed_gives_the_same_run(ntsim_machine) -> None:
    def events() -> list[str]:
        machine = ntsim_machine(seed=7)
        load(machine, "race")
        return [str(event) for event in machine.events]

    assert events() == events()


def test_privileged_instructions_act_on_the_processor(ntsim_machine) -> None:
    lines = output(ntsim_machine(), "privileged")
    assert "CPUID.1 VMX 1 hypervisor 0" in lines
    assert "CR3 1ad000 CR8 0 TR 40 GDT limit 57" in lines
    assert "current thread agrees, KPCR agrees" in lines
    assert "IF 1 0 1" in lines
    assert "IRQL 2, was 0" in lines
    assert "VMX 0 1 0 0 0, GUEST_RIP 1234567" in lines


def mistake(machine, name: str) -> BugCheck:
    load(machine, "mistakes")

    def app() -> None:
        DeviceIoControl(open_device("Mistakes"), CODES[name], None, 0)

    with pytest.raises(BugCheck) as caught:
        machine.run(app)
    return caught.value


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("raised_irql", 0x4A),
        ("touch_at_dispatch", 0xD1),
        ("invalid_address", 0x50),
        ("double_free", 0xC2),
        ("double_complete", 0x44),
        ("null_pointer", 0x3B),
        ("corrupt_list", 0x139),
        ("write_text", 0xBE),
        ("execute_data", 0xFC),
        ("deep_recursion", 0x7F),
        ("divide_by_zero", 0x3B),
        ("assertion", 0x3B),
        ("privileged", 0x3B),
        ("critical_region", 0x1),
        ("forever_at_dispatch", 0x133),
    ],
)
def test_a_mistake_ends_in_windows_bug_check(ntsim_machine, name, code) -> None:
    assert mistake(ntsim_machine(), name).code == code


def test_parameters_of_0xd1_name_address_level_access_and_instruction(ntsim_machine) -> None:
    machine = ntsim_machine()
    address, irql, access, rip = mistake(machine, "touch_at_dispatch").parameters
    assert (address, irql, access) == (0xFFFF_A000_0000_1000, 2, 1)
    assert machine.nt.describe_address(rip).startswith("mistakes!")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("null_pointer", 0xC000_0005),
        ("divide_by_zero", 0xC000_0094),
        ("assertion", 0xC000_0420),
        ("privileged", 0xC000_0096),
    ],
)
def test_an_exception_in_a_system_call_has_windows_code(ntsim_machine, name, status) -> None:
    assert mistake(ntsim_machine(), name).parameters[0] == status


def test_the_stack_of_a_crash_goes_through_compiled_and_kernel_frames(ntsim_machine) -> None:
    machine = ntsim_machine()
    mistake(machine, "double_free")
    lines = machine.report().to_text().splitlines()
    stack = [line.rpartition(" : ")[2] for line in lines if line.count("`") >= 6]
    names = [frame.partition("+")[0] for frame in stack]
    driver = [name for name in names if name.startswith("mistakes!")]
    assert driver
    assert names.index("nt!ExFreePoolWithTag") < names.index(driver[0])
    assert names.index(driver[-1]) < names.index("nt!IofCallDriver")


def test_a_compiled_driver_runs_into_what_is_not_modelled_by_name(ntsim_machine, tmp_path) -> None:
    file = tmp_path / "calls.sys"
    data = (DRIVERS / "hello.sys").read_bytes()
    file.write_bytes(data.replace(b"DbgPrint\0", b"CcMapData"[:8] + b"\0"))
    with pytest.raises(DriverLoadError, match="CcMapDat"):
        ntsim_machine().load_driver(file)
    data = (DRIVERS / "echo.sys").read_bytes()
    file.write_bytes(data.replace(b"IoCreateDevice\0", b"CcFastCopyRead\0"))
    with pytest.raises(UnmodelledRoutine, match="CcFastCopyRead"):
        ntsim_machine().load_driver(file)
