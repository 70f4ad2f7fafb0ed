"""Sections by pointer: MmCreateSection and its neighbours. Source: ReactOS kmtests MmSection.c,
NtCreateSection_drv.c; winsiderss phnt."""

import pytest

from ntsim import win32
from ntsim.wdm import *
from tests.conftest import IOCTL_BUFFERED, complete, open_thing, thing_driver

PAGE = 0x1000
SEC_COMMIT_, PAGE_READWRITE_, VIEW_UNMAP = 0x8000000, 4, 2


def large(value):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def create(size=0x3000, protection=PAGE_READWRITE_, attributes=SEC_COMMIT_):
    rest = (large(size), protection, attributes, NULL, NULL)
    return MmCreateSection(SECTION_ALL_ACCESS, NULL, *rest)


def view(section, process, protection=PAGE_READWRITE_, size=0):
    """(status, base, size)"""
    base, length = PVOID(), SIZE_T()
    base[0], length[0] = 0, size
    rest = (NULL, length, VIEW_UNMAP, 0, protection)
    status = MmMapViewOfSection(section, process, base, 0, 0, *rest)
    return status, base[0], length[0]


def in_an_app(ntsim_machine, work):
    results = []

    def control(DeviceObject, Irp):
        results.append(work())
        return complete(Irp)

    def app():
        win32.DeviceIoControl(open_thing(), IOCTL_BUFFERED, None, 0)

    machine = ntsim_machine()
    machine.load_driver(thing_driver(device_control=control), name="drv.sys")
    machine.run(app, name="app.exe")
    return results[0]


def test_two_views_of_a_section_share_its_pages(ntsim_machine) -> None:
    def work():
        process = PsGetCurrentProcess()
        status, section = create()
        first, second = view(section, process), view(section, process)
        cast(first[1] + 0x1000, PULONG)[0] = 0x1234
        shared = cast(second[1] + 0x1000, PULONG)[0]
        statuses = [MmUnmapViewOfSection(process, each[1] + 0x800) for each in (first, second)]
        again = MmUnmapViewOfSection(process, first[1])
        left = ObDereferenceObject(section)
        return status, first[0], first[2], shared, statuses, again, left

    assert in_an_app(ntsim_machine, work) == (
        0, 0, 0x3000, 0x1234, [0, 0], STATUS_NOT_MAPPED_VIEW, 0,
    )  # fmt: skip


def test_arguments_are_checked_as_by_handle(ntsim_machine) -> None:
    def work():
        process = PsGetCurrentProcess()
        _, section = create(protection=2)
        return [
            create(size=0)[0], create(attributes=0)[0], view(section, process, 4)[0],
            view(section, process, 2, 0x4000)[0],
        ]  # fmt: skip

    assert in_an_app(ntsim_machine, work) == [
        STATUS_INVALID_PARAMETER_4, STATUS_INVALID_PARAMETER_6, STATUS_SECTION_PROTECTION,
        STATUS_INVALID_VIEW_SIZE,
    ]  # fmt: skip


def by_handle(routine):
    """What mapping a fresh section's kernel handle does; a raised status counts too."""
    attributes, base, length = OBJECT_ATTRIBUTES(), PVOID(), SIZE_T()
    InitializeObjectAttributes(attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
    rest = (large(PAGE), PAGE_READWRITE_, SEC_COMMIT_, NULL)
    _, handle = ZwCreateSection(SECTION_ALL_ACCESS, attributes, *rest)
    base[0], length[0] = 0, 0
    more = (NULL, length, VIEW_UNMAP, 0, PAGE_READWRITE_)
    try:
        return routine(handle, (1 << 64) - 1, base, 0, 0, *more)
    except StructuredException as error:
        return error.ExceptionCode


def test_the_nt_name_takes_a_drivers_pointers_for_the_apps(ntsim_machine) -> None:
    def work():
        return by_handle(ZwMapViewOfSection), by_handle(NtMapViewOfSection)

    assert in_an_app(ntsim_machine, work) == (STATUS_SUCCESS, STATUS_ACCESS_VIOLATION)


def test_in_a_system_thread_both_names_are_one(value_of) -> None:
    def body():
        return by_handle(ZwMapViewOfSection), by_handle(NtMapViewOfSection)

    first, second = value_of(body)
    assert first == second


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [
        (0, 24, STATUS_SUCCESS),
        (0, 23, STATUS_INFO_LENGTH_MISMATCH),
        (1, 64, STATUS_SECTION_NOT_IMAGE),
        (7, 64, STATUS_INVALID_INFO_CLASS),
    ],
)
def test_a_section_tells_its_size_and_attributes(value_of, kind, length, status) -> None:
    def body():
        rest = (large(0x2345), PAGE_READWRITE_, SEC_COMMIT_, NULL)
        _, handle = ZwCreateSection(SECTION_ALL_ACCESS, NULL, *rest)
        room, needed = ExAllocatePoolZero(PagedPool, 64, 1), SIZE_T()
        found = ZwQuerySection(handle, kind, room, length, needed)
        words = [cast(room, PULONGLONG)[i] for i in range(3)]
        return found, needed[0], words

    found, needed, words = value_of(body)
    assert found == status
    if not status:
        assert (needed, words) == (24, [0, SEC_COMMIT_, 0x3000])
