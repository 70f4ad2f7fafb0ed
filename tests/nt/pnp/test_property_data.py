"""Unified properties. Source: WDK IoGetDevicePropertyData, IoSetDevicePropertyData; devpkey.h."""

import uuid

import pytest

from ntsim.wdm import *

from .conftest import Function
from .test_interfaces import CLASS, WithInterface

DEVICE = "a45c254e-df1c-4efd-8020-67d146a850e0"
OWN = "0b0e5a5e-1111-2222-3333-444455556666"


def key(number: int, text: str = OWN):
    made = DEVPROPKEY()
    write_bytes(int(made), uuid.UUID(text).bytes_le)
    made.pid = number
    return made


def text(value: str) -> int:
    data = (value + "\0").encode("utf-16-le")
    block = ExAllocatePoolZero(PagedPool, len(data), 1)
    write_bytes(block, data)
    return block


def get(routine, of, property_key, locale=LOCALE_NEUTRAL):
    """(status, type, data), the size asked for first."""
    size, kind = ULONG(), ULONG()
    status = routine(of, property_key, locale, 0, 0, NULL, size, kind)
    if status != STATUS_BUFFER_TOO_SMALL:
        return status, kind[0], b""
    block = ExAllocatePoolZero(PagedPool, size[0], 1)
    status = routine(of, property_key, locale, 0, size[0], block, size, kind)
    return status, kind[0], read_bytes(block, size[0])


def started(plug, work, **properties):
    got = []
    function = Function()

    def start(device, irp):
        got.append(work(cast(function.pdo, PDEVICE_OBJECT)))

    function.hooks[IRP_MN_START_DEVICE] = start
    plug(function, **properties)
    return got[0]


def test_what_the_system_knows_has_a_type(plug) -> None:
    def work(pdo):
        return [
            get(IoGetDevicePropertyData, pdo, key(number, DEVICE)) for number in (2, 3, 24, 36, 14)
        ]

    assert started(plug, work, description="A thing") == [
        (STATUS_SUCCESS, DEVPROP_TYPE_STRING, "A thing\0".encode("utf-16-le")),
        (STATUS_SUCCESS, DEVPROP_TYPE_STRING_LIST, "ROOT\\THING\0\0".encode("utf-16-le")),
        (STATUS_SUCCESS, DEVPROP_TYPE_STRING, "ROOT\0".encode("utf-16-le")),
        (STATUS_SUCCESS, DEVPROP_TYPE_UINT32, bytes(4)),
        (STATUS_OBJECT_NAME_NOT_FOUND, DEVPROP_TYPE_EMPTY, b""),
    ]


def test_a_drivers_own_property_is_stored_by_locale_and_deleted(plug) -> None:
    def work(pdo):
        put, own = IoSetDevicePropertyData, key(7)
        rest = (PLUGPLAY_PROPERTY_PERSISTENT, DEVPROP_TYPE_STRING)
        seen = [put(pdo, own, LOCALE_NEUTRAL, *rest, 4, text("a"))]
        seen.append(put(pdo, own, 0x407, *rest, 4, text("b")))
        seen += [get(IoGetDevicePropertyData, pdo, own, locale)[2] for locale in (0, 0x407)]
        seen.append(put(pdo, own, LOCALE_NEUTRAL, *rest, 0, NULL))
        seen += [get(IoGetDevicePropertyData, pdo, own, locale)[0] for locale in (0, 0x407)]
        seen.append(put(pdo, own, LOCALE_NEUTRAL, *rest, 0, NULL))
        return [*seen, put(pdo, own, LOCALE_USER_DEFAULT, *rest, 4, text("a"))]

    assert started(plug, work) == [
        0, 0, b"a\0\0\0", b"b\0\0\0", 0, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
        STATUS_OBJECT_NAME_NOT_FOUND, STATUS_UNSUCCESSFUL,
    ]  # fmt: skip


def test_a_friendly_name_is_the_one_of_ioGetDeviceProperty(plug) -> None:
    def work(pdo):
        name = text("My thing")
        rest = (LOCALE_NEUTRAL, 0, DEVPROP_TYPE_STRING, 18, name)
        status = IoSetDevicePropertyData(pdo, key(14, DEVICE), *rest)
        block, size = ExAllocatePoolZero(PagedPool, 64, 1), ULONG()
        IoGetDeviceProperty(pdo, DevicePropertyFriendlyName, 64, block, size)
        return status, read_bytes(block, size[0]).decode("utf-16-le")

    assert started(plug, work) == (STATUS_SUCCESS, "My thing\0")


@pytest.mark.parametrize("number", [3, 6, 16, 24])
def test_what_identifies_the_device_cannot_be_set(plug, number: int) -> None:
    def work(pdo):
        rest = (LOCALE_NEUTRAL, 0, DEVPROP_TYPE_STRING, 4, text("a"))
        return IoSetDevicePropertyData(pdo, key(number, DEVICE), *rest)

    assert started(plug, work) == STATUS_ACCESS_DENIED


def test_a_value_of_another_type_is_refused(plug) -> None:
    def work(pdo):
        rest = (LOCALE_NEUTRAL, 0, DEVPROP_TYPE_UINT32, 4, text("a"))
        return IoSetDevicePropertyData(pdo, key(14, DEVICE), *rest)

    assert started(plug, work) == STATUS_INVALID_PARAMETER


def test_what_is_no_pdo_is_0xca(bugcheck_of) -> None:
    def body(DriverObject):
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoGetDevicePropertyData(device, key(7), 0, 0, 0, NULL)

    assert bugcheck_of(body).code == 0xCA


def test_interfaces_have_properties_of_their_own(plug) -> None:
    interface = "026e516e-b814-414b-83cd-856d6fef4822"
    seen = []

    class WithProperties(WithInterface):
        def start(self, DeviceObject, Irp) -> None:
            read, own = IoGetDeviceInterfacePropertyData, key(9)
            seen.append(get(read, self.string, key(3, interface)))
            super().start(DeviceObject, Irp)
            rest = (LOCALE_NEUTRAL, 0, DEVPROP_TYPE_STRING, 4, text("a"))
            seen.append(IoSetDeviceInterfacePropertyData(self.string, own, *rest))
            seen.extend(get(read, self.string, each) for each in (own, key(4, interface)))
            seen.append(IoSetDeviceInterfacePropertyData(self.string, key(3, interface), *rest))
            nobody = UNICODE_STRING("\\??\\nobody")
            seen.append(get(read, nobody, own)[0])

    plug(WithProperties())
    assert seen == [
        (STATUS_SUCCESS, DEVPROP_TYPE_BOOLEAN, b"\0"),
        STATUS_SUCCESS,
        (STATUS_SUCCESS, DEVPROP_TYPE_STRING, b"a\0\0\0"),
        (STATUS_SUCCESS, DEVPROP_TYPE_GUID, uuid.UUID(CLASS).bytes_le),
        STATUS_ACCESS_DENIED,
        STATUS_OBJECT_NAME_NOT_FOUND,
    ]
