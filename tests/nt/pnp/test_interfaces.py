"""Device interfaces and notification. Source: WDK IoRegisterDeviceInterface,
IoSetDeviceInterfaceState, IoGetDeviceInterfaces, IoRegisterPlugPlayNotification; bug check 0xCA."""

import uuid

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.wdm import *

from .conftest import Function

CLASS = "781ef630-72b2-11d2-b852-00c04fad5171"
LINK = f"\\??\\ROOT#THING#0000#{{{CLASS}}}"
ARRIVAL, REMOVAL = (f"cb3a400{n}-46f0-11d0-b08f-00609713053f" for n in (4, 5))


def guid(text: str = CLASS) -> int:
    made = GUID()
    write_bytes(made, uuid.UUID(text).bytes_le)
    return made


def text_of(string) -> str:
    return read_bytes(string.Buffer, string.Length).decode("utf-16-le")


class WithInterface(Function):
    """Registers its interface in AddDevice, enables it in START_DEVICE."""

    def __init__(self) -> None:
        super().__init__({IRP_MN_START_DEVICE: self.start}, add=self.register)
        self.name = self.results = None

    def register(self, DriverObject, PhysicalDeviceObject) -> int:
        self.results = []
        self.attach(DriverObject, PhysicalDeviceObject)
        self.string = cast(
            ExAllocatePoolWithTag(NonPagedPool, 16, 0x74736554), PUNICODE_STRING
        )
        status = IoRegisterDeviceInterface(PhysicalDeviceObject, guid(), NULL, self.string)
        self.name = text_of(self.string)
        return status

    def start(self, DeviceObject, Irp) -> None:
        for enable in (TRUE, TRUE):
            self.results.append(IoSetDeviceInterfaceState(self.string, enable))


def open_interface():
    access = win32.GENERIC_READ
    return win32.CreateFile("\\\\?" + LINK[3:], access, 0, None, win32.OPEN_EXISTING, 0, None)


def test_an_app_opens_the_device_by_its_interface(plug) -> None:
    function = WithInterface()
    made = plug(function)
    assert function.name == LINK
    assert function.results == [STATUS_SUCCESS, STATUS_OBJECT_NAME_EXISTS]
    process = made.machine.run(lambda: win32.CloseHandle(open_interface()), name="app.exe")
    assert process.exit_code == 0, process.stderr


def test_removal_disables_the_interface(plug) -> None:
    made = plug(WithInterface())
    made.device.remove()

    def app() -> None:
        with pytest.raises(win32.error) as caught:
            open_interface()
        assert caught.value.winerror == 2

    assert made.machine.run(app, name="app.exe").exit_code == 0


def test_an_open_handle_vetoes_removal_and_delays_the_end_of_a_surprise(plug) -> None:
    """Wine's ntoskrnl driver_pnp.c: no REMOVE_DEVICE before the last handle is closed."""
    made = plug(WithInterface())
    machine, statuses, opened = made.machine, [], []

    def app() -> None:
        handle = open_interface()
        opened.append(handle)
        win32.Sleep(10_000)
        win32.CloseHandle(handle)

    made.seen()
    machine.start(app, name="app.exe")
    machine._run(lambda: bool(opened))
    statuses.append(made.device.remove())
    assert made.seen() == ["QUERY_REMOVE_DEVICE", "CANCEL_REMOVE_DEVICE"]
    made.device.surprise_remove()
    assert made.seen() == ["SURPRISE_REMOVAL"]
    assert made.device.state == "RemovePendingCloses"
    machine.run_until_idle()
    assert made.seen() == ["REMOVE_DEVICE", "Unload"]
    assert statuses == [STATUS_PLUGPLAY_QUERY_VETOED]


def test_an_fdo_has_no_interfaces(plug) -> None:
    got = []

    def start(DeviceObject, Irp) -> None:
        got.append(IoRegisterDeviceInterface(DeviceObject, guid(), NULL, UNICODE_STRING()))

    plug(Function({IRP_MN_START_DEVICE: start}))
    assert got == [STATUS_INVALID_DEVICE_REQUEST]


def test_a_list_of_interfaces_of_a_class(plug) -> None:
    function = WithInterface()
    made = plug(function)
    got = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        for flags in (0, DEVICE_INTERFACE_INCLUDE_NONACTIVE):
            status, block = IoGetDeviceInterfaces(guid(), NULL, flags)
            got.append((status, read_bytes(block, 2 * len(LINK) + 4).decode("utf-16-le")))
            ExFreePool(block)
        status, block = IoGetDeviceInterfaces(guid(ARRIVAL), NULL, 0)
        got.append((status, read_bytes(block, 2)))
        return STATUS_SUCCESS

    made.machine.load_driver(DriverEntry, name="asks.sys")
    assert got == [(0, LINK + "\0\0")] * 2 + [(0, b"\0\0")]


def listener(got: list, category: int = EventCategoryDeviceInterfaceChange, flags: int = 0):
    """A driver that registers and notes (event, link) of what it is told."""

    def callback(NotificationStructure, Context) -> int:
        told = cast(NotificationStructure, DEVICE_INTERFACE_CHANGE_NOTIFICATION)
        event = str(uuid.UUID(bytes_le=read_bytes(told.Event, 16)))
        got.append((event, text_of(told.SymbolicLinkName), Context))
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath) -> int:
        status, entry = IoRegisterPlugPlayNotification(
            category, flags, guid(), DriverObject, callback, 77
        )
        DriverObject.DriverUnload = lambda driver: IoUnregisterPlugPlayNotification(entry)
        return status

    return DriverEntry


def test_a_driver_is_told_of_interfaces_that_come_and_go(ntsim_machine) -> None:
    machine, got = ntsim_machine(), []
    machine.load_driver(listener(got), name="listener.sys")
    function = WithInterface()

    def DriverEntry(DriverObject, RegistryPath):
        return function.entry(DriverObject, RegistryPath)

    device = machine.plug("ROOT\\THING", machine.load_driver(DriverEntry, name="function.sys"))
    assert got == [(ARRIVAL, LINK, 77)]
    device.remove()
    assert got[1:] == [(REMOVAL, LINK, 77)]


def test_existing_interfaces_are_told_at_once_if_asked_for(plug) -> None:
    made, got = plug(WithInterface()), []
    flag = PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES
    made.machine.load_driver(listener(got, flags=flag), name="listener.sys")
    assert got == [(ARRIVAL, LINK, 77)]


def test_a_callback_that_comes_back_at_a_raised_level_is_0xca_a(plug) -> None:
    made = plug(WithInterface())

    def DriverEntry(DriverObject, RegistryPath) -> int:
        flag = PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES
        IoRegisterPlugPlayNotification(
            EventCategoryDeviceInterfaceChange, flag, guid(), DriverObject,
            lambda structure, context: KeRaiseIrqlToDpcLevel() and 0, NULL,
        )  # fmt: skip
        return STATUS_SUCCESS

    with pytest.raises(BugCheck) as caught:
        made.machine.load_driver(DriverEntry, name="listener.sys")
    assert caught.value.code == 0xCA
    one, _, three, four = caught.value.parameters
    assert (one, three, four) == (0xA, 2, 0)


def test_the_holder_of_an_open_device_can_refuse_its_removal(plug) -> None:
    made, got = plug(WithInterface()), []

    def callback(NotificationStructure, Context) -> int:
        told = cast(NotificationStructure, TARGET_DEVICE_REMOVAL_NOTIFICATION)
        got.append(uuid.UUID(bytes_le=read_bytes(told.Event, 16)).hex[:8])
        return STATUS_UNSUCCESSFUL

    def DriverEntry(DriverObject, RegistryPath) -> int:
        _, file, _ = IoGetDeviceObjectPointer(UNICODE_STRING(LINK), FILE_READ_DATA)
        status, _ = IoRegisterPlugPlayNotification(
            EventCategoryTargetDeviceChange, 0, file, DriverObject, callback, NULL
        )
        return status

    made.machine.load_driver(DriverEntry, name="holder.sys")
    assert made.device.remove() == STATUS_PLUGPLAY_QUERY_VETOED
    assert got == ["cb3a4006", "cb3a4007"]
    assert made.device.state == "Started"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("", STATUS_INVALID_PARAMETER),
        ("\\??", STATUS_INVALID_PARAMETER),
        ("\\??\\", STATUS_INVALID_PARAMETER),
        (f"\\??\\{{{CLASS}}}", STATUS_INVALID_PARAMETER),
        (f"\\??\\#{CLASS}", STATUS_INVALID_PARAMETER),
        (f"\\??\\X{{{CLASS}}}", STATUS_OBJECT_NAME_NOT_FOUND),
        (f"\\\\?\\X{{{CLASS}}}\\", STATUS_OBJECT_NAME_NOT_FOUND),
    ],
)
def test_a_name_that_is_no_interfaces(value_of, name: str, status: int) -> None:
    """Source: ReactOS kmtests IoDeviceInterface.c."""
    body = lambda: IoSetDeviceInterfaceState(UNICODE_STRING(name) if name else NULL, TRUE)  # noqa: E731
    assert value_of(body) == status
