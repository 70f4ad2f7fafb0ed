"""Global and Local in the directories that drivers name: links to the same directory."""

import pytest

from ntsim.wdm import *


def attributes(text: str) -> OBJECT_ATTRIBUTES:
    made = OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(made, UNICODE_STRING(text), OBJ_KERNEL_HANDLE, NULL, NULL)
    return made


@pytest.mark.parametrize("prefix", ["\\DosDevices\\Global", "\\??\\Global", "\\GLOBAL??\\Global"])
def test_a_link_in_the_global_name_space_is_one_of_every_session(value_of, prefix: str) -> None:
    def body() -> list:
        made = IoCreateSymbolicLink(UNICODE_STRING(f"{prefix}\\Thing"), UNICODE_STRING("\\Device"))
        again = IoCreateSymbolicLink(
            UNICODE_STRING("\\DosDevices\\Thing"), UNICODE_STRING("\\Device")
        )
        return [made, again & 0xFFFF_FFFF, IoDeleteSymbolicLink(UNICODE_STRING("\\??\\Thing"))]

    assert value_of(body) == [0, 0xC0000035, 0]


@pytest.mark.parametrize("prefix", ["Global", "Local"])
def test_a_named_event_of_every_session(value_of, prefix: str) -> None:
    def body() -> list:
        name = UNICODE_STRING(f"\\BaseNamedObjects\\{prefix}\\Ready")
        event, handle = IoCreateNotificationEvent(name)
        opened, other = ZwOpenEvent(EVENT_ALL_ACCESS, attributes("\\BaseNamedObjects\\Ready"))
        return [int(event) != 0, opened, ZwClose(other), ZwClose(handle)]

    assert value_of(body) == [True, 0, 0, 0]


def test_a_reference_by_handle_says_what_the_handle_grants(value_of) -> None:
    def body() -> list:
        status, handle = ZwCreateEvent(SYNCHRONIZE, attributes("\\BaseNamedObjects\\E"), 0, FALSE)
        information = ExAllocatePoolWithTag(NonPagedPool, 8, 1)
        found = []
        for tag in (None, 0x4D415445):
            arguments = (handle, 0, NULL, KernelMode)
            if tag is None:
                status, body = ObReferenceObjectByHandle(*arguments, information)
            else:
                status, body = ObReferenceObjectByHandleWithTag(*arguments, tag, information)
            found += [status, read_bytes(information, 8).hex()]
            count = ObfReferenceObjectWithTag(body, 1)
            found += [ObDereferenceObjectWithTag(body, 1) - count]
            ObDereferenceObject(body)
        ZwClose(handle)
        return found

    granted = "0000000000001000"
    assert value_of(body) == [0, granted, -1, 0, granted, -1]
