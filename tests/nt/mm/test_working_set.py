"""Pageable memory that goes out by itself, or because an app says so.

Source: Windows Internals 7, ch. 5, "Working sets"; WDK "Accessing User-Space Memory",
MmProbeAndLockPages; Win32 SetProcessWorkingSetSize.
"""

import pytest

from ntsim import BugCheck, win32
from ntsim.host.current import current_kernel
from ntsim.wdm import *
from tests.conftest import complete, open_thing, thing_driver

NEITHER = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_NEITHER, FILE_ANY_ACCESS)
DIRECT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
ME, PAGE, PAGES = -1, 0x1000, 16
TEXT = b"still here"


def buffer() -> int:
    at = win32.VirtualAlloc(0, PAGES * PAGE, 0x3000, win32.PAGE_READWRITE)
    for page in range(PAGES):
        win32.write_bytes(at + page * PAGE, TEXT)
    return at


def read_all(at: int) -> bool:
    return all(read_bytes(at + page * PAGE, len(TEXT)) == TEXT for page in range(PAGES))


def reads_at(level: int):
    """A dispatch routine that reads the app's buffer at a level."""

    def device_control(DeviceObject, Irp) -> int:
        at = int(Irp.UserBuffer)
        OldIrql = KeRaiseIrql(level)
        good = read_all(at)
        KeLowerIrql(OldIrql)
        return complete(Irp, STATUS_SUCCESS if good else STATUS_UNSUCCESSFUL)

    return device_control


def sleeper() -> None:
    at, thing = buffer(), open_thing()
    win32.Sleep(20_000)
    win32.DeviceIoControl(thing, NEITHER, None, (at, PAGES * PAGE))


def test_a_process_that_has_slept_long_gets_its_pages_back(run_app) -> None:
    ran = run_app(sleeper, device_control=reads_at(PASSIVE_LEVEL))
    assert any("of app.exe paged out" in str(event) for event in ran.machine.events)


def test_touching_them_at_dispatch_level_is_a_bug_check(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(thing_driver(device_control=reads_at(DISPATCH_LEVEL)), name="thing.sys")
    with pytest.raises(BugCheck) as caught:
        machine.run(sleeper, name="app.exe")
    assert (caught.value.code, *caught.value.parameters[1:3]) == (0xD1, 2, 0)
    assert "a user-mode address whose page is paged out" in machine.report().summary


def test_which_pages_go_out_is_the_seeds_choice(run_app) -> None:
    def pages(seed: int) -> set[int]:
        found = []

        def device_control(DeviceObject, Irp) -> int:
            at = int(Irp.UserBuffer)
            found.extend(p for p in range(PAGES) if not MmIsAddressValid(at + p * PAGE))
            return complete(Irp)

        run_app(sleeper, {"seed": seed}, device_control=device_control)
        return set(found)

    first, second = pages(1), pages(2)
    assert first == pages(1) != second
    assert 0 < len(first) < PAGES


def test_a_short_sleep_takes_nothing(run_app) -> None:
    def app() -> None:
        at, thing = buffer(), open_thing()
        for _ in range(4):
            win32.Sleep(9_000)
        win32.DeviceIoControl(thing, NEITHER, None, (at, PAGES * PAGE))

    run_app(app, device_control=reads_at(DISPATCH_LEVEL))


def test_an_emptied_working_set_comes_back_page_by_page(run_app) -> None:
    def app() -> list:
        at = buffer()
        win32.SetProcessWorkingSetSize(ME, -1, -1)
        return [win32.read_bytes(at + page * PAGE, len(TEXT)) for page in range(PAGES)]

    ran = run_app(app)
    assert ran.value == [TEXT] * PAGES
    assert any("of app.exe paged out" in str(event) for event in ran.machine.events)


def test_locked_pages_stay(run_app) -> None:
    kept = {}

    def device_control(DeviceObject, Irp) -> int:
        mdl = Irp.MdlAddress
        at = MmGetMdlVirtualAddress(mdl)
        win_at = int(at)
        before = MmGetPhysicalAddress(win_at).QuadPart
        from ntsim.nt.mm.working_set import mi_empty_working_set

        nt = current_kernel("the test")
        mi_empty_working_set(nt, nt.ps.current_process())
        kept["same"] = MmGetPhysicalAddress(win_at).QuadPart == before
        KeRaiseIrql(DISPATCH_LEVEL)
        kept["read"] = read_all(win_at)
        KeLowerIrql(PASSIVE_LEVEL)
        return complete(Irp)

    def app() -> None:
        at, thing = buffer(), open_thing()
        win32.DeviceIoControl(thing, DIRECT, None, (at, PAGES * PAGE))

    run_app(app, device_control=device_control)
    assert kept == {"same": True, "read": True}


def test_paged_pool_goes_out_when_nothing_runs_for_long(run_app) -> None:
    kept = []

    def device_control(DeviceObject, Irp) -> int:
        if not kept:
            kept.append(ExAllocatePoolWithTag(PagedPool, PAGES * PAGE, 0x74736574))
            for page in range(PAGES):
                write_bytes(kept[0] + page * PAGE, TEXT)
        else:
            away = sum(not MmIsAddressValid(kept[0] + page * PAGE) for page in range(PAGES))
            kept.extend([0 < away < PAGES, read_all(kept[0])])
            ExFreePoolWithTag(kept[0], 0x74736574)
        return complete(Irp)

    def app() -> None:
        thing = open_thing()
        win32.DeviceIoControl(thing, NEITHER, None, 0)
        win32.Sleep(60_000)
        win32.DeviceIoControl(thing, NEITHER, None, 0)

    run_app(app, device_control=device_control)
    assert kept[1:] == [True, True]


def test_protections_survive_the_way_out_and_back(run_app) -> None:
    def app() -> list:
        at = buffer()
        win32.VirtualProtect(at, PAGE, win32.PAGE_READONLY)
        win32.SetProcessWorkingSetSize(ME, -1, -1)
        before = win32.VirtualQuery(at).Protect
        read = win32.read_bytes(at, len(TEXT))
        try:
            win32.write_bytes(at, b"x")
        except win32.StructuredException as error:
            return [before, read, error.ExceptionCode, win32.VirtualQuery(at).Protect]
        return []

    assert run_app(app).value == [2, TEXT, 0xC0000005, 2]
