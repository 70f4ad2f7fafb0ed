"""PsChargePoolQuota and its family: EPROCESS says what is charged. Source: ntifs.h."""

import pytest

from ntsim import win32
from ntsim.wdm import *
from tests.conftest import IOCTL_BUFFERED, complete, open_thing, thing_driver

NONPAGED, PAGED = 0, 1


def charged(process):
    """Usage of nonpaged and of paged pool, then the peaks."""
    data = read_bytes(int(process) + 0x470, 32)
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, 32, 8)]


def in_an_apps_process(ntsim_machine, work):
    """Run `work(process)` in a dispatch routine that an app calls; what it returned."""
    results = []

    def control(DeviceObject, Irp):
        results.append(work(PsGetCurrentProcess()))
        return complete(Irp)

    def app():
        handle = open_thing()
        win32.DeviceIoControl(handle, IOCTL_BUFFERED, None, 0)

    machine = ntsim_machine()
    machine.load_driver(thing_driver(device_control=control), name="drv.sys")
    machine.run(app, name="app.exe")
    return results[0]


def test_charges_add_up_and_the_peak_stays(ntsim_machine) -> None:
    def work(process):
        PsChargePoolQuota(process, NonPagedPoolNx, 0x1000)
        PsChargeProcessNonPagedPoolQuota(process, 0x10)
        PsChargeProcessPagedPoolQuota(process, 0x20)
        before = charged(process)
        PsReturnPoolQuota(process, NonPagedPoolNx, 0x1000)
        PsReturnProcessNonPagedPoolQuota(process, 0x10)
        PsReturnProcessPagedPoolQuota(process, 0x20)
        return before, charged(process)

    before, after = in_an_apps_process(ntsim_machine, work)
    assert before == [0x1010, 0x20, 0x1010, 0x20]
    assert after == [0, 0, 0x1010, 0x20]


def test_the_system_process_is_not_charged(value_of) -> None:
    def body():
        process = PsGetCurrentProcess()
        status = PsChargeProcessPoolQuota(process, PagedPool, 0x1000)
        PsReturnPoolQuota(process, PagedPool, 0x2000)
        return status, charged(process)

    assert value_of(body) == (STATUS_SUCCESS, [0] * 4)


def test_an_objects_charge_goes_back_when_it_is_deleted(ntsim_machine) -> None:
    def work(process):
        made = OBJECT_TYPE_INITIALIZER()
        made.Length, made.PoolType = OBJECT_TYPE_INITIALIZER.size, NonPagedPool
        _, kind = ObCreateObjectType(UNICODE_STRING("Widget"), made, NULL)
        _, body = ObCreateObject(KernelMode, kind, NULL, KernelMode, NULL, 0x100, 0, 0x2345)
        handle = HANDLE()
        ObInsertObject(body, NULL, 0, 0, NULL, handle)
        during = charged(process)[0]
        ZwClose(handle[0])
        return during, charged(process)[0]

    assert in_an_apps_process(ntsim_machine, work) == (0x2345, 0)


@pytest.mark.parametrize("kind", [NONPAGED, PAGED])
def test_returning_more_than_was_charged_is_0x21(ntsim_machine, kind: int) -> None:
    from ntsim.errors import BugCheck

    seen = []

    def work(process):
        seen.append(int(process))
        PsChargePoolQuota(process, PagedPool if kind else NonPagedPool, 0x100)
        PsReturnPoolQuota(process, PagedPool if kind else NonPagedPool, 0x180)

    with pytest.raises(BugCheck) as caught:
        in_an_apps_process(ntsim_machine, work)
    assert caught.value.code == 0x21
    assert tuple(caught.value.parameters) == (seen[0], kind, 0x180, 0x80)
