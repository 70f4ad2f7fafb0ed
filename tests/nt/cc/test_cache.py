"""Caching of files: paging reads and writes, mapped and pinned data, copies, sizes, flushes.

Source: ReactOS kmtests ntos_cc (CcMapData_drv.c, CcPinRead_drv.c, CcPinMappedData_drv.c,
CcSetFileSizes_drv.c, CcCopyRead_drv.c, CcCopyWrite_drv.c), named at each test, and the WDK pages of
the routines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ntsim.abi.cc import BCB, SHARED_CACHE_MAP, VACB
from ntsim.wdm import *

PAGE = 0x1000
GRANULARITY = VACB_MAPPING_GRANULARITY
MARK = 0xDEADBABE


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def sizes(size: int, valid: int | None = None, allocated: int | None = None):
    made = CC_FILE_SIZES()
    made.AllocationSize.QuadPart = size if allocated is None else allocated
    made.FileSize.QuadPart = size
    made.ValidDataLength.QuadPart = size if valid is None else valid
    return made


@dataclass
class Volume:
    """A file system driver with one device, whose files read as 0xBA with a mark at 0x3000."""

    device: Any = None
    reads: list[tuple[int, int]] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    lazy: list[str] = field(default_factory=list)
    answer: int = STATUS_SUCCESS
    content: dict[int, bytes] = field(default_factory=dict)

    def entry(self, DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = self.read
        DriverObject.MajorFunction[IRP_MJ_WRITE] = self.write
        for major in (IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = self.other
        name = UNICODE_STRING("\\Device\\Volume")
        _, self.device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_DISK, 0, FALSE)
        self.device.Flags &= ~DO_DEVICE_INITIALIZING

    def other(self, DeviceObject, Irp) -> int:
        self.lazy.append({IRP_MJ_CLEANUP: "cleanup", IRP_MJ_CLOSE: "close"}[
            IoGetCurrentIrpStackLocation(Irp).MajorFunction
        ])  # fmt: skip
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def transfer(self, Irp) -> tuple[Any, int, int]:
        stack, mdl = IoGetCurrentIrpStackLocation(Irp), Irp.MdlAddress
        at, length = stack.Parameters.Read.ByteOffset.QuadPart, stack.Parameters.Read.Length
        buffer = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)
        self.seen.append((
            KeGetCurrentIrql(), Irp.Flags & (IRP_PAGING_IO | IRP_NOCACHE), mdl.MdlFlags & 0x42,
            int(Irp.AssociatedIrp.SystemBuffer), at % PAGE, length % PAGE, Irp.RequestorMode,
        ))  # fmt: skip
        return buffer, at, length

    def finish(self, Irp, length: int) -> int:
        status = self.answer
        Irp.IoStatus.Status, Irp.IoStatus.Information = status, 0 if status else length
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return status

    def read(self, DeviceObject, Irp) -> int:
        buffer, at, length = self.transfer(Irp)
        self.reads.append((at, length))
        RtlFillMemory(buffer, length, 0xBA)
        if at <= 0x3000 < at + length:
            cast(int(buffer) + 0x3000 - at, ULONG)[0] = MARK
        return self.finish(Irp, length)

    def write(self, DeviceObject, Irp) -> int:
        buffer, at, length = self.transfer(Irp)
        self.writes.append((at, length))
        self.content[at] = bytes(cast(buffer, UCHAR)[i] for i in range(8))
        return self.finish(Irp, length)

    def callbacks(self):
        made = CACHE_MANAGER_CALLBACKS()

        def acquire(Context, Wait) -> int:
            self.lazy.append("acquire")
            return TRUE

        made.AcquireForLazyWrite = acquire
        made.ReleaseFromLazyWrite = lambda Context: self.lazy.append("release")
        made.AcquireForReadAhead = acquire
        made.ReleaseFromReadAhead = lambda Context: None
        return made

    def file(self, size: int = 0x4000, pin_access: int = TRUE, **more: int):
        """A stream file object that is cached."""
        made = IoCreateStreamFileObject(NULL, self.device)
        made.SectionObjectPointer = SECTION_OBJECT_POINTERS()
        CcInitializeCacheMap(made, sizes(size, **more), pin_access, self.callbacks(), 0x77)
        self.reads.clear()
        return made

    def forget(self, file) -> int:
        """Stop caching and wait until the cache map is gone."""
        waited = CACHE_UNINITIALIZE_EVENT()
        KeInitializeEvent(waited.Event, NotificationEvent, FALSE)
        gone = CcUninitializeCacheMap(file, large(0), waited)
        KeWaitForSingleObject(waited.Event, Executive, KernelMode, FALSE, NULL)
        return gone


@pytest.fixture
def on_volume(value_of: Callable[..., Any]) -> Callable[..., Any]:
    """`on_volume(body)`: what body(volume) returned in its driver."""

    def run(body: Callable[[Volume], Any], **options: Any) -> Any:
        volume = Volume()

        def entry(DriverObject) -> Any:
            volume.entry(DriverObject)
            return body(volume)

        return value_of(entry, **options)

    return run


def map_data(file, offset: int, length: int, flags: int = MAP_WAIT):
    return CcMapData(file, large(offset), length, flags)


def pin(file, offset: int, length: int, flags: int = PIN_WAIT):
    return CcPinRead(file, large(offset), length, flags)


def ulong(buffer, offset: int = 0) -> int:
    return cast(int(buffer) + offset, ULONG)[0]


def public(bcb) -> tuple[int, int, int]:
    seen = cast(int(bcb), PUBLIC_BCB)
    return seen.NodeTypeCode, seen.MappedLength, seen.MappedFileOffset.QuadPart


def in_thread(routine: Callable[[], Any]) -> Any:
    found: list[Any] = []
    _, handle = PsCreateSystemThread(
        OBJ_KERNEL_HANDLE, NULL, NULL, NULL, lambda _: found.append(routine()), NULL
    )
    _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
    KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
    ObDereferenceObject(thread)
    ZwClose(handle)
    return found[0]


def raised(routine: Callable[[], Any]) -> int:
    try:
        routine()
    except StructuredException as error:
        return error.ExceptionCode
    return 0


# Paging I/O


def test_a_paging_read_comes_at_apc_level_with_a_locked_mdl_and_whole_pages(on_volume) -> None:
    """CcMapData_drv.c TestIrpHandler: level, IRP_NOCACHE and IRP_PAGING_IO, MDL flags, no buffer.

    MDL_PAGES_LOCKED 2, MDL_IO_PAGE_READ 0x40.
    """

    def body(volume):
        map_data(volume.file(), 0x1000, 0x3000)
        return volume.seen

    assert on_volume(body) == [(APC_LEVEL, IRP_PAGING_IO | IRP_NOCACHE, 0x42, 0, 0, 0, KernelMode)]


def test_a_paging_write_comes_at_passive_level_and_is_no_page_read(on_volume) -> None:
    """CcPinRead_drv.c, CcCopyWrite_drv.c TestIrpHandler."""

    def body(volume):
        file = volume.file()
        _, bcb, _buffer = pin(file, 0, 0x4000)
        CcSetDirtyPinnedData(bcb, NULL)
        CcUnpinData(bcb)
        volume.seen.clear()
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        return volume.seen

    assert on_volume(body) == [(0, IRP_PAGING_IO | IRP_NOCACHE, 2, 0, 0, 0, KernelMode)]


def test_a_driver_that_pends_a_paging_read_lets_the_reader_wait(on_volume) -> None:
    def body(volume):
        item = WORK_QUEUE_ITEM()

        def later(DeviceObject, Irp) -> int:
            IoMarkIrpPending(Irp)
            ExInitializeWorkItem(item, lambda _: volume.read(DeviceObject, Irp), NULL)
            ExQueueWorkItem(item, DelayedWorkQueue)
            return STATUS_PENDING

        volume.device.DriverObject.MajorFunction[IRP_MJ_READ] = later
        _, _bcb, buffer = map_data(volume.file(), 0, 0x4000)
        return ulong(buffer, 0x3000)

    assert on_volume(body) == MARK


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (STATUS_DEVICE_NOT_READY, STATUS_DEVICE_NOT_READY),
        (STATUS_ACCESS_VIOLATION, STATUS_UNEXPECTED_IO_ERROR),
    ],
)
def test_a_failed_read_is_raised(on_volume, answer: int, code: int) -> None:
    """WDK CcCopyRead: the status of the I/O error; WDK FsRtlNormalizeNtstatus for the second."""

    def body(volume):
        file = volume.file()
        volume.answer = answer
        failed = raised(lambda: map_data(file, 0, 0x1000))
        volume.answer = STATUS_SUCCESS
        return failed, map_data(file, 0, 0x1000)[0]

    assert on_volume(body) == (code, True)


def test_beyond_the_end_of_the_file_there_are_zeros(on_volume) -> None:
    def body(volume):
        file = volume.file()
        volume.answer = STATUS_END_OF_FILE
        return ulong(map_data(file, 0x5000, 0x1000)[2])

    assert on_volume(body) == 0


# Cache maps


def test_the_first_cache_map_of_a_file_is_its_shared_one(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        shared = cast(file.SectionObjectPointer.SharedCacheMap, SHARED_CACHE_MAP)
        seen = [
            CcIsFileCached(file), shared.NodeTypeCode, shared.OpenCount, shared.FileSize.QuadPart,
            shared.SectionSize.QuadPart, int(shared.LazyWriteContext),
            int(shared.FileObjectFastRef.Object) == int(file),
            cast(file.PrivateCacheMap, SHORT)[0],
        ]  # fmt: skip
        return [*seen, volume.forget(file), CcIsFileCached(file), int(file.PrivateCacheMap)]

    expected = [True, 0x2FF, 1, 0x4000, GRANULARITY, 0x77, True, 0x2FE]
    assert on_volume(body) == [*expected, True, False, 0]


def test_a_second_file_object_shares_the_cache_and_the_last_one_ends_it(on_volume) -> None:
    def body(volume):
        first = volume.file()
        second = IoCreateStreamFileObject(NULL, volume.device)
        second.SectionObjectPointer = first.SectionObjectPointer
        CcInitializeCacheMap(second, sizes(0x4000), TRUE, volume.callbacks(), NULL)
        map_data(first, 0, 0x1000)
        map_data(second, 0, 0x1000)
        reads = list(volume.reads)
        return reads, volume.forget(first), CcIsFileCached(second), volume.forget(second)

    assert on_volume(body) == ([(0, 0x1000)], False, True, True)


def test_the_cache_holds_the_file_object_until_it_ends(on_volume) -> None:
    def body(volume):
        file = volume.file()
        ObDereferenceObject(file)
        before = list(volume.lazy)
        volume.forget(file)
        return before, volume.lazy

    assert on_volume(body) == (["cleanup"], ["cleanup", "close"])


def test_a_file_without_section_pointers_cannot_be_cached(on_volume) -> None:
    def body(volume):
        file = IoCreateStreamFileObject(NULL, volume.device)
        return raised(
            lambda: CcInitializeCacheMap(file, sizes(1), TRUE, volume.callbacks(), NULL)
        )

    assert on_volume(body) == STATUS_ACCESS_VIOLATION


# Mapped data


@pytest.mark.parametrize("number", [0, 1, 2])
def test_mapped_data_begins_at_its_offset(on_volume, number: int) -> None:
    """CcMapData_drv.c, tests 0 to 2."""

    def body(volume):
        file = volume.file(pin_access=FALSE)
        done, bcb, buffer = map_data(file, number * PAGE, 0x4000 - number * PAGE)
        CcUnpinData(bcb)
        return done, ulong(buffer, 0x3000 - number * PAGE)

    assert on_volume(body) == (True, MARK)


def test_another_thread_maps_the_same_view_and_pins_with_a_block_of_its_own(on_volume) -> None:
    """CcMapData_drv.c, test 3 and MapInAnotherThread."""

    def body(volume):
        file = volume.file(pin_access=FALSE)
        _, bcb, buffer = map_data(file, 0x1000, 0x3000)
        in_cache = 0xFFFFF98000000000 <= int(buffer) < 0xFFFFFA8000000000

        def other():
            found = []
            _, mine, mapped = map_data(file, 0x1000, 0x3000)
            found.append((mine == bcb, mapped == buffer))
            CcUnpinData(mine)
            for flags in (0, PIN_EXCLUSIVE):
                done, mine, pinned = pin(file, 0x1000, 0x3000, flags)
                found.append((done, mine != bcb, pinned == buffer))
                CcUnpinData(mine)
            _, mine, mapped = map_data(file, 0x1500, 0x2B00)
            found.append((mine == bcb, int(mapped) == int(buffer) + 0x500))
            CcUnpinData(mine)
            return found

        return in_cache, in_thread(other)

    both = (True, True)
    assert on_volume(body) == (True, [both, (True, *both), (True, *both), both])


def test_pin_if_bcb_of_data_that_is_only_mapped_fails(on_volume) -> None:
    """CcMapData_drv.c MapInAnotherThread, CcPinRead_drv.c test 3, CcPinMappedData_drv.c test 3."""

    def body(volume):
        file = volume.file()
        _, bcb, _buffer = map_data(file, 0, 0x4000)
        holder = (PVOID * 1)()
        holder[0] = bcb
        refused = CcPinMappedData(file, large(0), 0x4000, PIN_IF_BCB, holder)
        return pin(file, 0, 0x4000, PIN_WAIT | PIN_IF_BCB)[0], refused, holder[0] == bcb

    assert on_volume(body) == (False, False, True)


@pytest.mark.parametrize("how", [map_data, pin])
def test_data_beyond_the_end_and_across_views_can_be_mapped_and_pinned(on_volume, how) -> None:
    """CcMapData_drv.c test 4, CcPinRead_drv.c test 5."""

    def body(volume):
        file = volume.file()
        CcSetFileSizes(file, sizes(0x4000, allocated=0x4000 + GRANULARITY))
        end, allocated = 0x4000, 0x4000 + GRANULARITY
        places = (end, end + GRANULARITY, allocated, allocated + GRANULARITY)
        done = [how(file, place + 0x1000, 0x1000) for place in places]
        across = how(file, 0, GRANULARITY + 0x1000)
        beyond = ulong(across[2], GRANULARITY)
        for _, bcb, _buffer in (*done, across):
            CcUnpinData(bcb)
        return [each[0] for each in done], across[0], beyond

    assert on_volume(body) == ([True] * 4, True, 0xBABABABA)


def test_map_without_wait_needs_the_data_to_be_there(on_volume) -> None:
    def body(volume):
        file = volume.file()
        before = map_data(file, 0, 0x1000, 0)[0]
        map_data(file, 0, 0x1000)
        return before, map_data(file, 0, 0x1000, 0)[0]

    assert on_volume(body) == (False, True)


def test_touching_a_page_that_was_mapped_without_reading_reads_it(on_volume) -> None:
    def body(volume):
        _, _bcb, buffer = map_data(volume.file(), 0, 0x4000, MAP_WAIT | MAP_NO_READ)
        before = list(volume.reads)
        return before, ulong(buffer, 0x3000), volume.reads, KeGetCurrentIrql()

    assert on_volume(body) == ([], MARK, [(0x3000, 0x1000)], 0)


def test_touching_it_at_dispatch_level_is_0xd1(bugcheck_of) -> None:
    volume = Volume()

    def body(DriverObject) -> None:
        volume.entry(DriverObject)
        _, _bcb, buffer = map_data(volume.file(), 0, 0x4000, MAP_WAIT | MAP_NO_READ)
        KeRaiseIrqlToDpcLevel()
        ulong(buffer)

    assert bugcheck_of(body).code == 0xD1


def test_a_read_that_fails_on_touch_is_an_in_page_error(on_volume) -> None:
    def body(volume):
        _, _bcb, buffer = map_data(volume.file(), 0, 0x4000, MAP_WAIT | MAP_NO_READ)
        volume.answer = STATUS_DEVICE_NOT_READY
        try:
            ulong(buffer)
        except StructuredException as error:
            return error.ExceptionCode, error.ExceptionInformation
        return 0, ()

    code, information = on_volume(body)
    assert code == STATUS_IN_PAGE_ERROR
    assert information[2] == STATUS_DEVICE_NOT_READY


# Pinned data


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_block_says_what_it_pins_in_whole_pages(on_volume, number: int) -> None:
    """CcPinRead_drv.c, tests 0 to 2: ok_bcb."""

    def body(volume):
        _, bcb, buffer = pin(volume.file(), number * PAGE, 0x4000 - number * PAGE)
        return public(bcb), ulong(buffer, 0x3000 - number * PAGE)

    expected = (0x2FD, (4 - number) * PAGE, number * PAGE)
    assert on_volume(body) == (expected, MARK)


def test_pinning_a_part_gives_the_same_block_and_an_address_inside(on_volume) -> None:
    """CcPinRead_drv.c PinInAnotherThread."""

    def body(volume):
        file = volume.file()
        _, bcb, buffer = pin(file, 0x1000, 0x3000)

        def other():
            found = []
            for offset, flags in (
                (0x1000, PIN_WAIT), (0x1000, PIN_WAIT | PIN_IF_BCB), (0x1500, PIN_WAIT),
            ):  # fmt: skip
                _, mine, at = pin(file, offset, 0x4000 - offset, flags)
                found.append((mine == bcb, int(at) - int(buffer), public(mine)[1:]))
                CcUnpinData(mine)
            _, mine, at = map_data(file, 0x1000, 0x3000)
            found.append((mine == bcb, int(at) - int(buffer), ()))
            CcUnpinData(mine)
            return found

        return in_thread(other)

    whole = (0x3000, 0x1000)
    expected = [(True, 0, whole), (True, 0, whole), (True, 0x500, whole), (False, 0, ())]
    assert on_volume(body) == expected


def test_what_is_pinned_alone_can_be_mapped_by_others_but_not_pinned(on_volume) -> None:
    """CcPinRead_drv.c PinInAnotherThreadExclusive, CcPinMappedData_drv.c test 2."""

    def body(volume):
        file = volume.file()
        _, bcb, buffer = pin(file, 0x1000, 0x3000, PIN_WAIT | PIN_EXCLUSIVE)

        def other():
            refused = [pin(file, 0x1000, 0x3000, f)[0] for f in (PIN_EXCLUSIVE, PIN_IF_BCB, 0)]
            _, mine, at = map_data(file, 0x1000, 0x3000, 0)
            holder = (PVOID * 1)()
            holder[0] = mine
            for flags in (PIN_EXCLUSIVE, 0):
                refused.append(CcPinMappedData(file, large(0x1000), 0x3000, flags, holder))
            same = holder[0] == mine, mine != bcb, at == buffer
            CcUnpinData(mine)
            return refused, same

        return in_thread(other)

    assert on_volume(body) == ([False] * 5, (True, True, True))


def test_an_exclusive_pin_waits_for_the_other_thread(on_volume) -> None:
    def body(volume):
        file, order = volume.file(), []
        _, bcb, _buffer = pin(file, 0, 0x1000)

        def other(Context) -> None:
            _, mine, _at = pin(file, 0, 0x1000, PIN_WAIT | PIN_EXCLUSIVE)
            order.append("pinned")
            CcUnpinData(mine)

        PsCreateSystemThread(OBJ_KERNEL_HANDLE, NULL, NULL, NULL, other, NULL)
        KeDelayExecutionThread(KernelMode, FALSE, large(-10_000))
        order.append("released")
        CcUnpinData(bcb)
        KeDelayExecutionThread(KernelMode, FALSE, large(-10_000))
        return order

    assert on_volume(body) == ["released", "pinned"]


def test_without_pin_access_pages_that_are_not_there_are_zeros(on_volume) -> None:
    """CcPinRead_drv.c, test 4."""

    def body(volume):
        _, bcb, buffer = pin(volume.file(pin_access=FALSE), 0x1000, 0x3000)
        return public(bcb), ulong(buffer, 0x2000), volume.reads

    assert on_volume(body) == ((0x2FD, 0x3000, 0x1000), 0, [])


def test_pinning_mapped_data_replaces_its_bcb(on_volume) -> None:
    """CcPinMappedData_drv.c, tests 0 and 1."""

    def body(volume):
        file, holder = volume.file(), (PVOID * 1)()
        _, pinned, _buffer = pin(file, 0, 0x4000)
        _, mapped, _buffer = map_data(file, 0, 0x4000)
        holder[0] = mapped
        done = CcPinMappedData(file, large(0), 0x4000, PIN_WAIT, holder)
        again = CcPinMappedData(file, large(0), 0x4000, PIN_WAIT, holder)
        block = cast(int(pinned), BCB)
        return mapped != pinned, done, again, holder[0] == pinned, block.PinCount

    assert on_volume(body) == (True, True, True, True, 2)


def test_a_range_over_two_blocks_is_pinned_as_one(on_volume) -> None:
    def body(volume):
        file = volume.file()
        _, first, _buffer = pin(file, 0, 0x1000)
        _, third, _buffer = pin(file, 0x2000, 0x1000)
        _, over, _buffer = pin(file, 0, 0x4000)
        counts = [cast(int(each), BCB).PinCount for each in (first, third)]
        seen = public(over)
        CcSetDirtyPinnedData(over, NULL)
        for bcb in (over, first, third):
            CcUnpinData(bcb)
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        return seen, counts, volume.writes

    assert on_volume(body) == ((0x2FA, 0x4000, 0), [2, 2], [(0, 0x4000)])


def test_a_block_is_in_its_files_list_until_it_is_free_and_clean(on_volume) -> None:
    def body(volume):
        file = volume.file()
        shared = cast(file.SectionObjectPointer.SharedCacheMap, SHARED_CACHE_MAP)
        head, counts = shared.BcbList, []

        def count() -> None:
            found, at = 0, int(head.Flink)
            while at != int(head):
                found, at = found + 1, int(cast(at, LIST_ENTRY).Flink)
            counts.append((found, shared.DirtyPages))

        _, low, _buffer = pin(file, 0, 0x1000)
        _, high, _buffer = pin(file, 0x2000, 0x2000)
        first = int(head.Flink) - BCB.offset_of("BcbLinks") == int(high)
        CcSetDirtyPinnedData(high, large(5))
        lsn = cast(int(high), BCB).NewestLsn.QuadPart
        count()
        CcUnpinData(low)
        CcUnpinData(high)
        count()
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        count()
        return first, lsn, counts

    assert on_volume(body) == (True, 5, [(2, 2), (1, 2), (0, 0)])


def test_a_view_counts_who_has_it_mapped(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        shared = cast(file.SectionObjectPointer.SharedCacheMap, SHARED_CACHE_MAP)
        _, bcb, buffer = map_data(file, 0x1000, 0x1000)
        view = cast(cast(shared.Vacbs, ULONGLONG)[0], VACB)
        at = int(view.BaseAddress) + 0x1000 == int(buffer), int(bcb) == int(view) + 1
        counts = [view.FileOffset.QuadPart & 0xFFFF]
        map_data(file, 0, 0x1000)
        counts.append(view.FileOffset.QuadPart & 0xFFFF)
        CcUnpinData(bcb)
        return at, [*counts, view.FileOffset.QuadPart & 0xFFFF]

    assert on_volume(body) == ((True, True), [1, 2, 1])


def test_unpinning_in_a_thread_that_did_not_pin_is_0xe3(bugcheck_of) -> None:
    volume = Volume()

    def body(DriverObject) -> None:
        volume.entry(DriverObject)
        _, bcb, _buffer = pin(volume.file(), 0, 0x1000)
        in_thread(lambda: CcUnpinData(bcb))

    assert bugcheck_of(body).code == 0xE3


def test_unpinning_twice_is_cache_manager(bugcheck_of) -> None:
    volume = Volume()

    def body(DriverObject) -> None:
        volume.entry(DriverObject)
        _, bcb, _buffer = pin(volume.file(), 0, 0x1000)
        CcUnpinData(bcb)
        CcUnpinData(bcb)

    assert bugcheck_of(body).code == 0x34


def test_prepared_data_is_dirty_and_read_only_where_it_ends_inside_a_page(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        done, bcb, buffer = CcPreparePinWrite(file, large(0x800), 0x3000, TRUE, PIN_WAIT)
        reads, zero = list(volume.reads), ulong(buffer)
        CcUnpinData(bcb)
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        return done, zero, reads, volume.writes

    expected = [(0, 0x1000), (0x3000, 0x1000)]
    assert on_volume(body) == (True, 0, expected, [(0, 0x4000)])


# Copies


def copy_read(file, offset: int, length: int, wait: int, buffer, block=None):
    block = IO_STATUS_BLOCK() if block is None else block
    return CcCopyRead(file, large(offset), length, wait, buffer, block), block


def test_copy_read_behaves_as_the_test_suite_saw(on_volume) -> None:
    """CcCopyRead_drv.c Test_CcCopyRead, in its order."""

    def body(volume):
        file, block = volume.file(1004, pin_access=FALSE), IO_STATUS_BLOCK()
        buffer = ExAllocatePoolWithTag(NonPagedPool, 16, 0x74736554)
        found: list[Any] = []

        def step(result) -> None:
            found.append((result, list(volume.reads)))
            volume.reads.clear()

        step(raised(lambda: CcCopyRead(file, NULL, 0, FALSE, NULL, block)))
        step(raised(lambda: CcCopyRead(NULL, large(0), 10, FALSE, buffer, block)))
        step(copy_read(file, 0, 0, TRUE, NULL)[0])
        step(raised(lambda: copy_read(file, 0, 10, TRUE, NULL)))
        done, block = copy_read(file, 0, 10, FALSE, buffer)
        step((done, block.Status, block.Information))
        step(copy_read(file, PAGE, 10, FALSE, buffer)[0])
        done, block = copy_read(file, 2 * PAGE, 10, TRUE, buffer)
        step((done, block.Information, ulong(buffer)))
        step(raised(lambda: CcCopyRead(file, large(2 * PAGE), 10, TRUE, buffer, NULL)))
        return found

    page = lambda number: [(number * PAGE, PAGE)]  # noqa: E731
    assert on_volume(body) == [
        (STATUS_ACCESS_VIOLATION, []),
        (STATUS_ACCESS_VIOLATION, []),
        (True, []),
        (STATUS_INVALID_USER_BUFFER, page(0)),
        ((True, STATUS_SUCCESS, 10), []),
        (False, page(1)),
        ((True, 10, 0xBABABABA), page(2)),
        (STATUS_ACCESS_VIOLATION, []),
    ]


def test_copy_write_behaves_as_the_test_suite_saw(on_volume) -> None:
    """CcCopyWrite_drv.c Test_CcCopyWrite, in its order, then the flush of what was written."""

    def body(volume):
        file = volume.file(1004, pin_access=FALSE)
        CcSetAdditionalCacheAttributes(file, FALSE, TRUE)
        buffer = ExAllocatePoolWithTag(NonPagedPool, 16, 0x74736554)
        RtlFillMemory(buffer, 16, 0xAC)
        found: list[Any] = []

        def step(result) -> None:
            found.append((result, list(volume.reads)))
            volume.reads.clear()

        step(raised(lambda: CcCopyWrite(file, NULL, 0, FALSE, NULL)))
        step(raised(lambda: CcCopyWrite(NULL, large(0), 10, FALSE, buffer)))
        step(CcCopyWrite(file, large(0), 0, TRUE, NULL))
        step(raised(lambda: CcCopyWrite(file, large(0), 10, TRUE, NULL)))
        step(CcCopyWrite(file, large(0), 10, FALSE, buffer))
        step(CcCopyWrite(file, large(PAGE), 10, FALSE, buffer))
        step(CcCopyWrite(file, large(2 * PAGE), 10, TRUE, buffer))
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        return found, volume.writes, volume.content[0]

    page = lambda number: [(number * PAGE, PAGE)]  # noqa: E731
    steps, writes, content = on_volume(body)
    assert steps == [
        (STATUS_ACCESS_VIOLATION, []),
        (STATUS_ACCESS_VIOLATION, []),
        (True, []),
        (STATUS_INVALID_USER_BUFFER, page(0)),
        (True, []),
        (False, page(1)),
        (True, page(2)),
    ]
    assert writes == [(0, PAGE), (2 * PAGE, PAGE)]
    assert content == b"\xac" * 8


def test_whole_pages_are_overwritten_without_reading_them(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        data = ExAllocatePoolWithTag(NonPagedPool, 0x3000, 0x74736554)
        RtlFillMemory(data, 0x3000, 0x11)
        CcCopyWrite(file, large(0), 0x2800, TRUE, data)
        back = ExAllocatePoolWithTag(NonPagedPool, 0x3000, 0x74736554)
        copy_read(file, 0, 0x3000, TRUE, back)
        return volume.reads, ulong(back, 0x27FC), ulong(back, 0x2800)

    assert on_volume(body) == ([(0x2000, 0x1000)], 0x11111111, 0xBABABABA)


def test_a_copy_across_views_is_whole(on_volume) -> None:
    def body(volume):
        file = volume.file(2 * GRANULARITY)
        data = ExAllocatePoolWithTag(NonPagedPool, 0x2000, 0x74736554)
        for i in range(0x2000 // 4):
            cast(data, ULONG)[i] = i
        CcCopyWrite(file, large(GRANULARITY - 0xFFC), 0x2000 - 8, TRUE, data)
        back = ExAllocatePoolWithTag(NonPagedPool, 0x2000, 0x74736554)
        copy_read(file, GRANULARITY - 0xFFC, 0x2000 - 8, TRUE, back)
        return [cast(back, ULONG)[i] for i in (0, 0x3FE, 0x3FF, 0x400, 0x7FD)]

    assert on_volume(body) == [0, 0x3FE, 0x3FF, 0x400, 0x7FD]


def test_a_write_through_file_is_written_before_the_return(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        file.Flags |= FO_WRITE_THROUGH
        data = ExAllocatePoolWithTag(NonPagedPool, 0x1000, 0x74736554)
        refused = CcCopyWrite(file, large(0), 0x1000, FALSE, data)
        done = CcCopyWrite(file, large(0), 0x1000, TRUE, data)
        return refused, done, volume.writes

    assert on_volume(body) == (False, True, [(0, 0x1000)])


# Sizes


def test_a_page_that_comes_into_the_file_is_read_when_it_is_mapped(on_volume) -> None:
    """CcSetFileSizes_drv.c, tests 0 and 2."""

    def body(volume):
        file = volume.file(GRANULARITY - PAGE)
        _, bcb, buffer = map_data(file, 0, GRANULARITY - PAGE)
        CcUnpinData(bcb)
        CcSetFileSizes(file, sizes(GRANULARITY))
        _, bcb, again = map_data(file, 0, GRANULARITY)
        return buffer == again, ulong(again, GRANULARITY - 4), volume.reads[-1]

    assert on_volume(body) == (True, 0xBABABABA, (GRANULARITY - PAGE, PAGE))


def test_new_sizes_do_not_write_and_dirty_data_stays(on_volume) -> None:
    """CcSetFileSizes_drv.c, tests 4 and 5."""

    def body(volume):
        file, end = volume.file(GRANULARITY - PAGE), GRANULARITY - PAGE - 4
        CcSetAdditionalCacheAttributes(file, FALSE, TRUE)
        _, bcb, buffer = pin(file, 0, GRANULARITY - PAGE)
        cast(int(buffer) + end, ULONG)[0] = 0xDADADADA
        CcSetDirtyPinnedData(bcb, NULL)
        CcSetFileSizes(file, sizes(GRANULARITY))
        flushed = CcGetFlushedValidData(file.SectionObjectPointer, FALSE)
        CcUnpinData(bcb)
        _, bcb, buffer = map_data(file, 0, GRANULARITY)
        seen = ulong(buffer, end), ulong(buffer, GRANULARITY - 4)
        return int(flushed), seen, volume.writes

    assert on_volume(body) == (0, (0xDADADADA, 0xBABABABA), [])


def test_a_smaller_file_loses_its_pages_beyond_the_end(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        data = ExAllocatePoolWithTag(NonPagedPool, 0x4000, 0x74736554)
        CcCopyWrite(file, large(0), 0x4000, TRUE, data)
        CcSetFileSizes(file, sizes(0x1800))
        CcFlushCache(file.SectionObjectPointer, NULL, 0, NULL)
        return volume.writes

    assert on_volume(body) == [(0, 0x2000)]


def test_flushed_valid_data_of_clean_and_of_uncached_files(on_volume) -> None:
    def body(volume):
        file, other = volume.file(0x4000), SECTION_OBJECT_POINTERS()
        clean = CcGetFlushedValidData(file.SectionObjectPointer, FALSE)
        return int(clean), int(CcGetFlushedValidData(other, FALSE))

    assert on_volume(body) == (0x4000, (1 << 63) - 1)


# Flush, purge, lazy writer


def test_a_flush_writes_its_range_and_reports_the_status(on_volume) -> None:
    def body(volume):
        file, block = volume.file(0x8000), IO_STATUS_BLOCK()
        CcSetAdditionalCacheAttributes(file, FALSE, TRUE)
        data = ExAllocatePoolWithTag(NonPagedPool, 0x8000, 0x74736554)
        CcCopyWrite(file, large(0), 0x8000, TRUE, data)
        CcFlushCache(file.SectionObjectPointer, large(0x2000), 0x3000, block)
        part = list(volume.writes), block.Status, block.Information
        volume.answer = STATUS_DISK_FULL
        CcFlushCache(file.SectionObjectPointer, NULL, 0, block)
        failed = block.Status
        volume.answer = STATUS_SUCCESS
        volume.writes.clear()
        CcFlushCache(file.SectionObjectPointer, NULL, 0, block)
        return part, failed, volume.writes

    assert on_volume(body) == (
        ([(0x2000, 0x3000)], STATUS_SUCCESS, 0x3000),
        STATUS_DISK_FULL,
        [(0, 0x2000), (0x5000, 0x3000)],
    )


def test_a_purge_throws_data_away_unless_it_is_mapped(on_volume) -> None:
    """WDK CcPurgeCacheSection."""

    def body(volume):
        file = volume.file(0x4000)
        pointers = file.SectionObjectPointer
        _, bcb, buffer = pin(file, 0, 0x1000)
        cast(buffer, ULONG)[0] = 1
        refused = CcPurgeCacheSection(pointers, NULL, 0, 0)
        CcUnpinData(bcb)
        done = CcPurgeCacheSection(pointers, NULL, 0, 0)
        _, _bcb, buffer = map_data(file, 0, 0x1000)
        return refused, done, ulong(buffer), CcPurgeCacheSection(pointers, NULL, 0, 0)

    assert on_volume(body) == (False, True, 0xBABABABA, False)


def test_the_lazy_writer_writes_within_seconds_between_its_callbacks(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        volume.lazy.clear()
        data = ExAllocatePoolWithTag(NonPagedPool, 0x1000, 0x74736554)
        CcCopyWrite(file, large(0), 0x1000, TRUE, data)
        at_once = list(volume.writes)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return at_once, volume.writes, volume.lazy

    assert on_volume(body) == ([], [(0, 0x1000)], ["acquire", "release"])


def test_pinned_data_is_not_written_behind(on_volume) -> None:
    def body(volume):
        file = volume.file(0x4000)
        _, bcb, _buffer = pin(file, 0, 0x1000)
        CcSetDirtyPinnedData(bcb, NULL)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        pinned = list(volume.writes)
        CcUnpinData(bcb)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return pinned, volume.writes

    assert on_volume(body) == ([], [(0, 0x1000)])


def test_what_is_dirty_at_the_end_of_caching_is_written_before_the_event(on_volume) -> None:
    """CcPinRead_drv.c, test 6: one write of the four pages."""

    def body(volume):
        file = volume.file(0x4000)
        _, bcb, buffer = pin(file, 0, 0x4000)
        RtlFillMemory(buffer, 0x4000, 0xBD)
        CcSetDirtyPinnedData(bcb, NULL)
        CcUnpinData(bcb)
        return volume.forget(file), volume.writes, volume.content[0], CcIsFileCached(file)

    assert on_volume(body) == (False, [(0, 0x4000)], b"\xbd" * 8, False)


def test_a_delayed_write_that_fails_is_told_and_lost(run_driver) -> None:
    volume = Volume()

    def body(DriverObject) -> int:
        volume.entry(DriverObject)
        file = volume.file(0x4000)
        data = ExAllocatePoolWithTag(NonPagedPool, 0x1000, 0x74736554)
        CcCopyWrite(file, large(0), 0x1000, TRUE, data)
        volume.answer = STATUS_DISK_FULL
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return len(volume.writes)

    outcome = run_driver(body)
    assert outcome.value == 1
    assert any("delayed write failed" in str(event) for event in outcome.machine.events)
