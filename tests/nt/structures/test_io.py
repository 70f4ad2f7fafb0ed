"""Drivers, devices, files, IRPs and modules as bytes."""


def device(memory, busy, name: str):
    return memory.structure("DEVICE_OBJECT", busy.made[name])


def test_a_driver_s_devices_are_chained_last_made_first(memory, busy) -> None:
    driver = memory.structure("DRIVER_OBJECT", busy.made["base driver"])
    assert driver["DeviceObject"] == busy.made["second"]
    assert device(memory, busy, "second")["NextDevice"] == busy.made["base"]
    assert device(memory, busy, "base")["NextDevice"] == 0
    for name in ("base", "second"):
        assert device(memory, busy, name)["DriverObject"] == driver.va
    assert memory.text(driver.address("DriverName")) == "\\Driver\\base"


def test_attached_devices_know_what_is_above_and_below(memory, busy) -> None:
    stack = [device(memory, busy, name) for name in ("base", "lower filter", "upper filter")]
    assert [d["AttachedDevice"] for d in stack] == [stack[1].va, stack[2].va, 0]
    assert [d["StackSize"] for d in stack] == [1, 2, 3]
    below = [
        memory.structure("DEVOBJ_EXTENSION", d["DeviceObjectExtension"])["AttachedTo"]
        for d in stack
    ]
    assert below == [0, stack[0].va, stack[1].va]
    for each in stack:
        extension = memory.structure("DEVOBJ_EXTENSION", each["DeviceObjectExtension"])
        assert extension["DeviceObject"] == each.va


def test_an_open_file_leads_to_its_device(memory, busy) -> None:
    handles = memory.handles(memory.process("pending.exe")).values()
    (body,) = (body for body, _ in handles if memory.type_name(body) == "File")
    file = memory.structure("FILE_OBJECT", body)
    assert (file["Type"], file["DeviceObject"]) == (5, busy.made["base"])
    assert (file["ReadAccess"], file["WriteAccess"], file["SharedRead"]) == (1, 1, 1)
    assert device(memory, busy, "base")["ReferenceCount"] == 1


def test_a_pending_irp_shows_what_was_asked_and_how_far_it_came(memory, busy) -> None:
    irp = memory.structure("IRP", busy.made["irp"])
    assert (irp["Type"], irp["StackCount"]) == (6, 3)
    assert irp["RequestorMode"] == 1
    current = irp["Tail.Overlay.CurrentStackLocation"]
    assert current == irp.va + 0xD0 + 0x48 * (irp["CurrentLocation"] - 1)
    location = memory.structure("IO_STACK_LOCATION", current)
    assert location["MajorFunction"] == 0xE
    assert location["Control"] & 1
    assert location["Parameters.DeviceIoControl.InputBufferLength"] == 16
    buffer = irp["AssociatedIrp.SystemBuffer"]
    assert memory.read(buffer, 16) == b"0123456789abcdef"


def test_the_loaded_modules_are_those_in_memory(memory, busy) -> None:
    head = memory.symbols["PsLoadedModuleList"]
    modules = memory.chain("KLDR_DATA_TABLE_ENTRY", head, "InLoadOrderLinks")
    found = [
        (memory.text(m.address("BaseDllName")), m["DllBase"], m["SizeOfImage"]) for m in modules
    ]
    assert found == busy.modules
    assert [name for name, _, _ in found][-3:] == ["base.sys", "filter.sys", "storm.sys"]
    driver = memory.structure("DRIVER_OBJECT", busy.made["base driver"])
    entry = memory.structure("KLDR_DATA_TABLE_ENTRY", driver["DriverSection"])
    assert entry["DllBase"] == driver["DriverStart"]


def test_an_unloaded_driver_is_remembered(memory, busy) -> None:
    """MM_UNLOADED_DRIVER: UNICODE_STRING Name, StartAddress, EndAddress, CurrentTime."""
    table = memory.number(memory.symbols["MmUnloadedDrivers"])
    assert memory.number(memory.symbols["MmLastUnloadedDriver"], 4) == 1
    assert memory.text(table) == "passing.sys"
    start, end = memory.number(table + 0x10), memory.number(table + 0x18)
    assert (start, end) == busy.unloaded
    assert memory.number(table + 0x20) > 1 << 56
    assert memory.read(table + 0x28, 0x28) == bytes(0x28)
