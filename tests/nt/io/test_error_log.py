"""Entries for the event log: who may have one, how large, and what becomes of it."""

import pytest

from ntsim.errors import DriverLoadError
from ntsim.nt.events import ErrorLogged
from ntsim.wdm import *

CODE = 0xC004_0001


def device(driver, name="\\Device\\Logged") -> PDEVICE_OBJECT:
    return IoCreateDevice(driver, 0, UNICODE_STRING(name), 0x22, 0, FALSE)[1]


def test_sizes_and_objects_that_have_no_entry(ntsim_machine) -> None:
    found = []

    def DriverEntry(DriverObject, RegistryPath):
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        for target, size in ((DriverObject, 0x2F), (DriverObject, 0xF1), (NULL, 0x40), (event, 64)):
            found.append(int(IoAllocateErrorLogEntry(target, size)))
        return STATUS_UNSUCCESSFUL

    with pytest.raises(DriverLoadError, match="STATUS_UNSUCCESSFUL"):
        ntsim_machine().load_driver(DriverEntry, name="log.sys")
    assert found == [0, 0, 0, 0]


def test_a_written_entry_is_an_event_and_a_freed_one_is_none(ntsim_machine) -> None:
    found = []

    def DriverEntry(DriverObject, RegistryPath):
        made = device(DriverObject)
        entry = IoAllocateErrorLogEntry(made, 0x40)
        found.append(read_bytes(entry, 0x40) == bytes(0x40))
        write_bytes(entry + 0x0C, CODE.to_bytes(4, "little"))
        IoWriteErrorLogEntry(entry)
        IoFreeErrorLogEntry(IoAllocateErrorLogEntry(DriverObject, 0xF0))
        IoDeleteDevice(made)
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="log.sys")
    events = [e for e in machine.events if isinstance(e, ErrorLogged)]
    assert found == [True]
    assert [(e.source, e.size) for e in events] == [("Logged", 0x40)]
    assert "c0040001" in events[0].code.lower()
