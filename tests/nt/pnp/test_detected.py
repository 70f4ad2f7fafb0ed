"""IoReportDetectedDevice. Source: WDK."""

from ntsim.wdm import *


def test_a_detected_device_has_a_pdo_and_interfaces_but_no_add_device(run_driver) -> None:
    def body(DriverObject) -> list:
        cell = ExAllocatePoolWithTag(NonPagedPool, 8, 0x74736554)
        write_bytes(cell, bytes(8))
        status = IoReportDetectedDevice(
            DriverObject, InterfaceTypeUndefined, 0, 0, NULL, NULL, FALSE, cell
        )
        pdo = cast(int.from_bytes(read_bytes(cell, 8), "little"), PDEVICE_OBJECT)
        guid = DEFINE_GUID(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
        name = UNICODE_STRING()
        registered = IoRegisterDeviceInterface(pdo, guid, NULL, name)
        enabled = IoSetDeviceInterfaceState(name, TRUE)
        text = read_bytes(name.Buffer, name.Length).decode("utf-16-le")
        return [status, registered, enabled, text.partition("#{")[0]]

    assert run_driver(body).value == [0, 0, 0, "\\??\\ROOT#DRV#0000"]
