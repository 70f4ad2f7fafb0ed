"""What debuggers would say of structures that are damaged: no second failure on top."""

import pytest

from ntsim.errors import Hang
from ntsim.wdm import *


def test_the_report_of_a_damaged_resource_names_the_address(crash_of) -> None:
    def device_control(DeviceObject, Irp) -> None:
        resource = ERESOURCE()
        ExInitializeResourceLite(resource)
        resource.OwnerTable = 0x1234_5678_9ABC_DEF0
        resource.Flag = 0x80
        ExReleaseResourceLite(resource)

    stop, machine = crash_of(device_control=device_control)
    assert stop.code == 0xE3
    text = machine.report().to_text()
    assert "0x123456789abcdef8" in text or "0x123456789abcdef0" in text
    assert "cannot be read" in text


def test_a_hang_over_a_damaged_resource_is_told_as_a_hang(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> None:
        block = ExAllocatePoolWithTag(NonPagedPool, 0x200, 0x206C6C41)
        resource = cast(block, ERESOURCE)
        ExInitializeResourceLite(resource)
        ExAcquireResourceExclusiveLite(resource, TRUE)
        RtlZeroMemory(block, 0x200)
        resource.ActiveEntries = 1
        ExAcquireResourceExclusiveLite(resource, TRUE)

    machine = ntsim_machine()
    with pytest.raises(Hang):
        machine.load_driver(DriverEntry)


def test_callbacks_that_go_round_are_called_for_ever_and_found(bugcheck_of) -> None:
    """A registration that links to itself, as a damaged one does."""

    def body() -> None:
        name, attributes = UNICODE_STRING("\\Callback\\Round"), OBJECT_ATTRIBUTES()
        InitializeObjectAttributes(attributes, name, OBJ_CASE_INSENSITIVE, NULL, NULL)
        _, callback = ExCreateCallback(attributes, TRUE, TRUE)
        registration = ExRegisterCallback(callback, lambda *_: None, NULL)
        cast(registration, LIST_ENTRY).Flink = registration
        ExNotifyCallback(callback, NULL, NULL)

    assert bugcheck_of(body).code == 0x133
