"""The service control manager: drivers as services."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ntsim import Machine
from ntsim.win32 import *

PARROT = Path(__file__).with_name("parrot.py")


@pytest.fixture
def machine() -> Any:
    """A machine without drivers."""
    with Machine(processors=1) as m:
        yield m


def create(manager: Any, path: Path | str = PARROT, name: str = "parrot") -> Any:
    return CreateService(
        manager, name, None, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START,
        SERVICE_ERROR_NORMAL, str(path), None, 0, None, None, None,
    )  # fmt: skip


def winerror_of(call: Callable[..., Any], *arguments: Any) -> int:
    with pytest.raises(error) as caught:
        call(*arguments)
    code: int = caught.value.winerror
    return code


def test_a_driver_s_life_as_a_service(machine: Machine, run: Any, parrot: Any) -> None:
    def app() -> list[Any]:
        manager = OpenSCManager(None, None, SC_MANAGER_ALL_ACCESS)
        service = create(manager)
        states = [QueryServiceStatus(service).dwCurrentState]
        StartService(service, None)
        states.append(QueryServiceStatus(service)[1])
        device = parrot()
        again = winerror_of(StartService, service, None)
        CloseHandle(device)
        ControlService(service, SERVICE_CONTROL_STOP)
        states.append(QueryServiceStatus(service)[1])
        stopped = winerror_of(ControlService, service, SERVICE_CONTROL_STOP)
        gone = winerror_of(parrot)
        DeleteService(service)
        CloseServiceHandle(service)
        deleted = winerror_of(OpenService, manager, "parrot", SERVICE_START)
        CloseServiceHandle(manager)
        return [states, again, stopped, gone, deleted]

    assert run(app) == [
        [SERVICE_STOPPED, SERVICE_RUNNING, SERVICE_STOPPED],
        ERROR_SERVICE_ALREADY_RUNNING,
        ERROR_SERVICE_NOT_ACTIVE,
        ERROR_FILE_NOT_FOUND,
        ERROR_SERVICE_DOES_NOT_EXIST,
    ]


def test_the_registry_names_the_driver(machine: Machine, run: Any) -> None:
    run(lambda: create(OpenSCManager(None, None, GENERIC_ALL)))
    key = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\parrot"
    assert machine.nt.cm.get(key, "ImagePath") == str(PARROT)
    assert machine.nt.cm.get(key, "Start") == SERVICE_DEMAND_START


def test_driver_entry_runs_in_the_system_process(machine: Machine, run: Any) -> None:
    def app() -> None:
        StartService(create(OpenSCManager(None, None, GENERIC_ALL)))

    run(app)
    line = next(str(e) for e in machine.events if "DriverEntry of parrot.sys" in str(e))
    assert " 0004." in line


def test_a_service_name_exists_once(run: Any) -> None:
    def app() -> int:
        manager = OpenSCManager(None, None, GENERIC_ALL)
        create(manager)
        return winerror_of(create, manager)

    assert run(app) == ERROR_SERVICE_EXISTS


def test_a_missing_driver_file_fails_the_start(run: Any) -> None:
    def app() -> int:
        service = create(OpenSCManager(None, None, GENERIC_ALL), "nowhere.py")
        return winerror_of(StartService, service)

    assert run(app) == ERROR_FILE_NOT_FOUND


def test_why_a_driver_could_not_be_loaded_stands_in_the_notes(
    machine: Machine, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text("from ntsim.wdm import *\ndef DriverEntry(d, r):\n    return IoNoSuch()\n")

    def app() -> None:
        StartService(create(OpenSCManager(None, None, GENERIC_ALL), path, "broken"))

    process = machine.run(app)
    assert process.exit_code == 1
    assert "IoNoSuch" in process.stderr
    assert "broken.py:3" in process.stderr


def test_a_failing_driver_entry_is_the_error_of_its_status(
    machine: Machine, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "refuses.py"
    path.write_text(
        "from ntsim.wdm import *\ndef DriverEntry(d, r):\n    return STATUS_NO_SUCH_DEVICE\n"
    )

    def app() -> int:
        service = create(OpenSCManager(None, None, GENERIC_ALL), path, "refuses")
        return winerror_of(StartService, service)

    assert run(app) == ERROR_NO_SUCH_DEVICE


def test_access_to_the_manager_and_to_a_service_is_checked(run: Any) -> None:
    def app() -> tuple[int, int, int]:
        weak = OpenSCManager(None, None, SC_MANAGER_CONNECT)
        first = winerror_of(create, weak)
        create(OpenSCManager(None, None, GENERIC_ALL))
        service = OpenService(weak, "parrot", SERVICE_QUERY_STATUS)
        return first, winerror_of(StartService, service), winerror_of(StartService, weak)

    assert run(app) == (ERROR_ACCESS_DENIED, ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE)


def test_a_driver_that_the_machine_loaded_is_a_service_too(machine: Machine, run: Any) -> None:
    machine.load_driver(PARROT)

    def app() -> tuple[int, int]:
        manager = OpenSCManager(None, None, SC_MANAGER_CONNECT)
        service = OpenService(manager, "parrot", SERVICE_ALL_ACCESS)
        running = QueryServiceStatus(service).dwCurrentState
        ControlService(service, SERVICE_CONTROL_STOP)
        return running, QueryServiceStatus(service).dwCurrentState

    assert run(app) == (SERVICE_RUNNING, SERVICE_STOPPED)


def test_a_driver_without_unload_cannot_be_stopped(
    machine: Machine, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "stays.py"
    path.write_text("from ntsim.wdm import *\ndef DriverEntry(d, r):\n    return STATUS_SUCCESS\n")
    machine.load_driver(path)

    def app() -> tuple[int, int]:
        manager = OpenSCManager(None, None, SC_MANAGER_CONNECT)
        service = OpenService(manager, "stays", SERVICE_ALL_ACCESS)
        accepted = QueryServiceStatus(service).dwControlsAccepted
        return accepted, winerror_of(ControlService, service, SERVICE_CONTROL_STOP)

    assert run(app) == (0, ERROR_INVALID_SERVICE_CONTROL)
