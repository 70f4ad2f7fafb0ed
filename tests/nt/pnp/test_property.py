"""Properties and keys of a device. Source: WDK IoGetDeviceProperty, IoOpenDeviceRegistryKey."""

from ntsim.wdm import *

from .conftest import Function


def property_of(pdo: int, number: int) -> tuple[int, str]:
    """(status, text), the size asked for first."""
    pdo = cast(pdo, PDEVICE_OBJECT)
    size = ULONG()
    status = IoGetDeviceProperty(pdo, number, 0, NULL, size)
    if status != STATUS_BUFFER_TOO_SMALL:
        return status, ""
    block = ExAllocatePoolWithTag(PagedPool, size[0], 0x74736554)
    status = IoGetDeviceProperty(pdo, number, size[0], block, size)
    return status, read_bytes(block, size[0]).decode("utf-16-le")


def started(plug, work, **properties):
    got = []
    function = Function()
    function.hooks[IRP_MN_START_DEVICE] = lambda device, irp: got.append(work(function))
    made = plug(function, **properties)
    return got[0], made


def test_what_the_bus_said_is_a_property(plug) -> None:
    def work(function):
        return [
            property_of(function.pdo, number)
            for number in (
                DevicePropertyHardwareID,
                DevicePropertyDeviceDescription,
                DevicePropertyEnumeratorName,
                DevicePropertyLocationInformation,
            )
        ]

    got, _ = started(plug, work, description="A thing")
    assert got == [
        (0, "ROOT\\THING\0\0"),
        (0, "A thing\0"),
        (0, "ROOT\0"),
        (STATUS_OBJECT_NAME_NOT_FOUND, ""),
    ]


def test_the_pdos_name_opens_the_pdo(plug) -> None:
    def work(function):
        return property_of(function.pdo, DevicePropertyPhysicalDeviceObjectName)

    (status, name), made = started(plug, work)
    assert status == STATUS_SUCCESS
    assert made.machine.nt.ob.full_name(made.device.pdo) + "\0" == name


def test_a_property_number_that_is_none(plug) -> None:
    got, _ = started(plug, lambda function: property_of(function.pdo, 99))
    assert got == (STATUS_INVALID_PARAMETER_2, "")


def test_keys_of_the_device_and_of_its_driver(plug) -> None:
    def work(function):
        pdo = cast(function.pdo, PDEVICE_OBJECT)
        statuses = []
        for kind in (PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER, 0):
            status, key = IoOpenDeviceRegistryKey(pdo, kind, KEY_ALL_ACCESS)
            statuses.append(status)
            if NT_SUCCESS(status):
                ZwClose(key)
        return statuses

    got, made = started(plug, work)
    assert got == [0, 0, STATUS_INVALID_PARAMETER]
    enum = "\\Registry\\Machine\\SYSTEM\\ControlSet001\\Enum\\ROOT\\THING\\0000"
    assert made.machine.nt.cm.find(f"{enum}\\Device Parameters") is not None
    driver = made.machine.nt.cm.get(enum, "Driver")
    assert driver == "{4d36e97d-e325-11ce-bfc1-08002be10318}\\0000"
