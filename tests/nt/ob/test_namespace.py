"""Names: directories, links, and what becomes of a name."""

import pytest

from ntsim.nt.io.open import OpenRequest, iop_open
from ntsim.nt.ob.namespace import ob_lookup
from ntsim.wdm import *


def text(name: str):
    return UNICODE_STRING(name)


def create(DriverObject, name: str):
    return IoCreateDevice(DriverObject, 0, text(name), FILE_DEVICE_UNKNOWN, 0, FALSE)


@pytest.mark.parametrize("directory", ["\\DosDevices", "\\??", "\\GLOBAL??", "\\dosdevices"])
def test_a_link_in_any_dos_devices_directory_is_found_in_all(run_driver, directory: str) -> None:
    def body(DriverObject) -> list[int]:
        create(DriverObject, "\\Device\\Thing")
        return [IoCreateSymbolicLink(text(f"{directory}\\Thing"), text("\\Device\\Thing"))]

    outcome = run_driver(body)
    nt = outcome.machine.nt
    assert outcome.value == [0]
    device = ob_lookup(nt, "\\Device\\Thing").body
    for other in ("\\DosDevices", "\\??", "\\GLOBAL??", "\\global??"):
        assert ob_lookup(nt, f"{other}\\THING").body == device


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("\\Device\\Missing", STATUS_OBJECT_NAME_NOT_FOUND),
        ("\\Missing\\Thing", STATUS_OBJECT_PATH_NOT_FOUND),
        ("\\??\\Missing", STATUS_OBJECT_NAME_NOT_FOUND),
        ("Device\\Thing", STATUS_OBJECT_PATH_SYNTAX_BAD),
        ("", STATUS_OBJECT_PATH_SYNTAX_BAD),
        ("\\Device", STATUS_OBJECT_TYPE_MISMATCH),
        ("\\Driver\\drv", STATUS_OBJECT_TYPE_MISMATCH),
    ],
)
def test_opening_a_path_that_leads_to_no_device_says_why(
    ntsim_machine, path: str, status: int
) -> None:
    machine = ntsim_machine()
    seen = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        seen.append(iop_open(machine.nt, path, OpenRequest(0x8000_0000)))
        return 0

    machine.load_driver(DriverEntry, name="drv.sys")
    assert seen == [(status, 0)]


def test_links_that_lead_in_a_circle_end(ntsim_machine) -> None:
    machine = ntsim_machine()
    seen = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        IoCreateSymbolicLink(text("\\??\\One"), text("\\??\\Two"))
        IoCreateSymbolicLink(text("\\??\\Two"), text("\\??\\One"))
        seen.append(iop_open(machine.nt, "\\??\\One", OpenRequest(0))[0])
        return 0

    machine.load_driver(DriverEntry, name="drv.sys")
    assert seen == [STATUS_OBJECT_PATH_NOT_FOUND]


def test_a_name_is_taken_once_whatever_its_case(run_driver) -> None:
    def body(DriverObject) -> list[int]:
        first = create(DriverObject, "\\Device\\Thing")[0]
        second, device = create(DriverObject, "\\Device\\THING")
        link = IoCreateSymbolicLink(text("\\Device\\thing"), text("\\Device\\Other"))
        return [first, second, int(device), link]

    expected = [0, STATUS_OBJECT_NAME_COLLISION, 0, STATUS_OBJECT_NAME_COLLISION]
    assert run_driver(body).value == expected


def test_a_deleted_device_frees_its_name(run_driver) -> None:
    def body(DriverObject) -> list[int]:
        statuses = []
        for _ in range(3):
            status, device = create(DriverObject, "\\Device\\Thing")
            IoDeleteDevice(device)
            statuses.append(status)
        return [*statuses, int(DriverObject.DeviceObject)]

    assert run_driver(body).value == [0, 0, 0, 0]


def test_deleting_a_link_that_is_not_there_or_no_link_says_so(run_driver) -> None:
    def body(DriverObject) -> list[int]:
        create(DriverObject, "\\Device\\Thing")
        IoCreateSymbolicLink(text("\\??\\Thing"), text("\\Device\\Thing"))
        names = ("\\??\\Thing", "\\??\\Thing", "\\Device\\Thing")
        return [IoDeleteSymbolicLink(text(name)) for name in names]

    expected = [0, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH]
    assert run_driver(body).value == expected


def test_a_device_without_a_name_cannot_be_found(run_driver) -> None:
    def body(DriverObject) -> list[int]:
        status, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        return [status, device.Flags & DO_DEVICE_HAS_NAME]

    assert run_driver(body).value == [0, 0]


def test_a_driver_object_has_its_name_until_it_is_unloaded(ntsim_machine) -> None:
    machine = ntsim_machine()

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = lambda driver: None
        return 0

    loaded = machine.load_driver(DriverEntry, name="drv.sys")
    assert machine.nt.ob.full_name(int(loaded.object)) == "\\Driver\\drv"
    machine.unload_driver(loaded)
    assert ob_lookup(machine.nt, "\\Driver\\drv").status == STATUS_OBJECT_NAME_NOT_FOUND
