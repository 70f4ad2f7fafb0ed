"""Driver Verifier and memory: pool calls, special pool, pool tracking, force IRQL checking.

Source: WDK Bug Check 0xC4 (0x0 to 0x2, 0x10 to 0x12, 0x62, 0x105), 0xC1, 0xCC, 0xCD, 0xD5, 0xD6;
"Special Pool", "Pool Tracking", "Force IRQL Checking".
"""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

TAG = 0x74736554
SPECIAL = "special-pool"
READ, WRITE = 0, 1


class Pair(Structure):
    First: ULONGLONG
    Second: ULONGLONG


def block(size: int = 16, pool: int = NonPagedPoolNx) -> int:
    return ExAllocatePoolWithTag(pool, size, TAG)


def seen(bugcheck) -> tuple:
    return (bugcheck.code, *bugcheck.parameters)


@pytest.mark.parametrize(
    ("level", "pool", "size", "kind"),
    [
        (0, NonPagedPoolNx, 0, (0x0, 0, NonPagedPoolNx, 0)),
        (2, PagedPool, 24, (0x1, 2, PagedPool, 24)),
        (3, NonPagedPoolNx, 24, (0x2, 3, NonPagedPoolNx, 24)),
    ],
)
def test_allocating_nothing_or_at_a_wrong_level(bugcheck_of, level, pool, size, kind) -> None:
    def body() -> None:
        KeRaiseIrql(level)
        block(size, pool)

    assert seen(bugcheck_of(body, verifier="misc")) == (0xC4, *kind)


def test_allocate_pool_2_by_its_flags(bugcheck_of) -> None:
    def body() -> None:
        KeRaiseIrql(DISPATCH_LEVEL)
        ExAllocatePool2(POOL_FLAG_PAGED, 8, TAG)

    assert seen(bugcheck_of(body, verifier="misc")) == (0xC4, 0x1, 2, PagedPool, 8)


@pytest.mark.parametrize("verifier", ["misc", SPECIAL])
@pytest.mark.parametrize(
    ("pool", "level", "kind"), [(PagedPool, 2, 0x11), (NonPagedPoolNx, 3, 0x12)]
)
def test_freeing_at_a_wrong_level(bugcheck_of, verifier, pool, level, kind) -> None:
    where = []

    def body() -> None:
        where.append(block(24, pool))
        KeRaiseIrql(level)
        ExFreePool(where[0])

    found = bugcheck_of(body, verifier=verifier)
    assert seen(found) == (0xC4, kind, level, pool & 1, where[0])


def test_freeing_what_is_no_pool(bugcheck_of) -> None:
    found = bugcheck_of(lambda: ExFreePool(KEVENT()), verifier="misc")
    assert (found.code, found.parameters[0]) == (0xC4, 0x10)


def test_freeing_an_irp_as_pool(bugcheck_of) -> None:
    where = []

    def body() -> None:
        where.append(int(IoAllocateIrp(1, FALSE)))
        ExFreePool(where[0])

    assert seen(bugcheck_of(body, verifier="io")) == (0xC4, 0x105, where[0], 0, 0)


def test_executable_pool(bugcheck_of) -> None:
    found = bugcheck_of(lambda: block(16, NonPagedPool), verifier="code-integrity")
    assert (found.parameters[0], found.parameters[2:]) == (0x2000, (NonPagedPool, TAG))


# Special pool


def test_a_block_ends_where_its_page_ends(value_of) -> None:
    assert value_of(lambda: block(48) & 0xFFF, verifier=SPECIAL) == 0x1000 - 48
    assert value_of(lambda: block(48) & 0xFFF, verifier="verify-start") == 0


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
@pytest.mark.parametrize(
    ("touch", "access", "offset"),
    [
        (lambda p: write_bytes(p, b"x" * 17), WRITE, 16),
        (lambda p: read_bytes(p, 20), READ, 16),
        (lambda p: cast(p, POINTER_TO_PAIR)[1].First, READ, 16),
        (lambda p: setattr(cast(p + 8, POINTER_TO_PAIR), "Second", 1), WRITE, 16),
    ],
)
def test_an_overrun_stops_at_the_access(bugcheck_of, pool, touch, access, offset) -> None:
    where = []

    def body() -> None:
        where.append(block(16, pool))
        touch(where[0])

    found = bugcheck_of(body, verifier=SPECIAL)
    assert (found.code, *found.parameters[:2]) == (0xD6, where[0] + offset, access)
    assert found.parameters[2] and not found.parameters[3]


POINTER_TO_PAIR = Pair


def test_an_underrun_stops_at_the_access_with_verify_start(ntsim_machine) -> None:
    where = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        where.append(block())
        cast(where[0] - 8, PULONGLONG)[0] = 1
        return 0

    machine = ntsim_machine(verifier="verify-start")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert seen(caught.value)[:3] == (0xD6, where[0] - 8, WRITE)
    text = machine.report().to_text()
    assert "8 bytes before the start" in text
    assert "16 bytes were allocated" in text


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
def test_use_after_free_stops_at_the_access(ntsim_machine, pool) -> None:
    where = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        where.append(block(32, pool))
        pair = cast(where[0], Pair)
        pair.First = 1
        ExFreePoolWithTag(pair, TAG)
        return pair.First

    machine = ntsim_machine(verifier=SPECIAL)
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert seen(caught.value)[:3] == (0xD5, where[0], READ)
    lines = machine.report().to_text()
    assert "32 bytes were allocated" in lines and "was freed." in lines
    assert "used after it was freed" in machine.report().summary


def test_at_dispatch_level_missing_memory_is_0xd1_as_ever(bugcheck_of) -> None:
    where = []

    def body() -> None:
        where.append(block())
        ExFreePool(where[0])
        KeRaiseIrql(DISPATCH_LEVEL)
        read_bytes(where[0], 1)

    assert seen(bugcheck_of(body, verifier=SPECIAL))[:4] == (0xD1, where[0], 2, READ)


@pytest.mark.parametrize(("offset", "kind"), [(-1, 0x23), (20, 0x24), (31, 0x24)])
def test_a_broken_pattern_is_found_at_the_free(bugcheck_of, offset: int, kind: int) -> None:
    where = []

    def body() -> None:
        where.append(block(20))
        write_bytes(where[0] + offset, b"\0")
        ExFreePool(where[0])

    found = bugcheck_of(body, verifier=SPECIAL)
    assert seen(found) == (0xC1, where[0], where[0] + offset, 20, kind)


def test_a_block_freed_twice(bugcheck_of) -> None:
    where = []

    def body() -> None:
        where.append(block())
        ExFreePool(where[0])
        ExFreePool(where[0])

    assert seen(bugcheck_of(body, verifier=SPECIAL)) == (0xC1, where[0], 0, 0, 0x20)


def test_a_wrong_tag_is_found_as_without_the_verifier(bugcheck_of) -> None:
    found = bugcheck_of(lambda: ExFreePoolWithTag(block(), TAG + 1), verifier=SPECIAL)
    assert (found.code, found.parameters[0]) == (0xC2, 0xA)


def test_kernel_objects_work_in_special_pool(value_of) -> None:
    def body() -> list:
        event = cast(block(KEVENT.size), PKEVENT)
        KeInitializeEvent(event, SynchronizationEvent, FALSE)
        KeSetEvent(event, 0, FALSE)
        status = KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)
        lock = cast(block(8), PKSPIN_LOCK)
        KeInitializeSpinLock(lock)
        KeReleaseSpinLock(lock, KeAcquireSpinLock(lock))
        found = [status, KeReadStateEvent(event), read_bytes(lock, 8)]
        ExFreePool(event)
        ExFreePool(lock)
        return found

    assert value_of(body, verifier="standard") == [0, 0, bytes(8)]


def test_when_frames_run_short_blocks_come_from_the_ordinary_pool(value_of) -> None:
    def body() -> tuple:
        special = sum(block(16) >> 39 == 0xFFFF_CF80_0000_0000 >> 39 for _ in range(12_000))
        return special < 12_000, block(16) != 0

    assert value_of(body, verifier=SPECIAL, memory_mb=32, record=False) == (True, True)


def test_a_large_block_comes_from_the_ordinary_pool(run_driver) -> None:
    def body() -> None:
        p = block(5000)
        write_bytes(p, b"x" * 5000)
        ExFreePool(p)

    run_driver(body, verifier="standard")


# Pool tracking


def test_leaks_at_unload_with_the_stacks_that_allocated_them(ntsim_machine) -> None:
    def leak(size: int) -> None:
        block(size)

    def unload(DriverObject) -> None:
        block(10)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        leak(24)
        leak(6000)
        ExFreePool(block(40))
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="pool-tracking")
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(BugCheck) as caught:
        machine.unload_driver(driver)
    code, kind, name, _, count = seen(caught.value)
    assert (code, kind, count) == (0xC4, 0x62, 3)
    assert machine.nt.mmu.read(name, 8) == b"drv.sys\0"
    text = " ".join(machine.report().to_text().split())
    assert "24 bytes of nonpaged pool" in text and "6000 bytes of nonpaged pool" in text
    assert "drv!leak" in text and "<- drv!DriverEntry" in text
    assert machine.report().image_name == "drv.sys"
    assert machine.report().summary.startswith("drv.sys unloads and leaves 3 pool blocks")


def test_a_driver_that_frees_everything_unloads(ntsim_machine) -> None:
    kept = []

    def unload(DriverObject) -> None:
        ExFreePool(kept.pop())

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        kept.append(block())
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="standard")
    machine.unload_driver(machine.load_driver(DriverEntry, name="drv.sys"))


def test_a_block_that_the_kernel_frees_is_no_leak(ntsim_machine) -> None:
    def unload(DriverObject) -> None:
        pass

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        text = UNICODE_STRING()
        text.Buffer, text.Length, text.MaximumLength = block(), 16, 16
        RtlFreeUnicodeString(text)
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="standard")
    machine.unload_driver(machine.load_driver(DriverEntry, name="drv.sys"))


# Force IRQL checking


@pytest.mark.parametrize("verifier", ["force-irql", "standard"])
def test_paged_pool_is_out_after_a_raise(bugcheck_of, verifier: str) -> None:
    where = []

    def body() -> None:
        where.append(block(16, PagedPool))
        write_bytes(where[0], b"here")
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeAcquireSpinLock(lock)
        read_bytes(where[0], 4)

    assert seen(bugcheck_of(body, verifier=verifier))[:4] == (0xD1, where[0], 2, READ)


def test_without_force_irql_touched_pages_stay(run_driver) -> None:
    def body() -> None:
        p = block(16, PagedPool)
        write_bytes(p, b"here")
        KeRaiseIrql(DISPATCH_LEVEL)
        read_bytes(p, 4)

    run_driver(body, verifier="pool-tracking")


def test_what_was_paged_out_comes_back_with_its_content(value_of) -> None:
    def body() -> bytes:
        p, big = block(16, PagedPool), block(9000, PagedPool)
        write_bytes(p, b"here")
        write_bytes(big + 8000, b"there")
        old = KeRaiseIrql(DISPATCH_LEVEL)
        KeLowerIrql(old)
        return read_bytes(p, 4) + read_bytes(big + 8000, 5)

    assert value_of(body, verifier="standard") == b"herethere"


def test_locked_pages_stay(value_of) -> None:
    def body() -> bytes:
        p = block(16, PagedPool)
        write_bytes(p, b"here")
        mdl = IoAllocateMdl(p, 16, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        old = KeRaiseIrql(DISPATCH_LEVEL)
        found = read_bytes(p, 4)
        KeLowerIrql(old)
        MmUnlockPages(mdl)
        IoFreeMdl(mdl)
        return found

    assert value_of(body, verifier="standard") == b"here"


class Outer(Structure):
    Number: ULONGLONG
    Inner: Pair


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
@pytest.mark.parametrize(
    ("touch", "access", "offset"),
    [
        (lambda outer, inner: inner.Second, READ, 16),
        (lambda outer, inner: setattr(inner, "First", 2), WRITE, 8),
        (lambda outer, inner: outer.Inner.First, READ, 8),
        (lambda outer, inner: read_bytes(outer + 4, 4), READ, 4),
        (lambda outer, inner: cast(outer, PULONGLONG)[1], READ, 8),
        (lambda outer, inner: InsertTailList(cast(outer, PLIST_ENTRY), LIST_ENTRY()), READ, 8),
    ],
)
def test_whatever_a_driver_kept_of_a_block_faults_after_the_free(
    bugcheck_of, pool, touch, access, offset
) -> None:
    where = []

    def body() -> None:
        outer = cast(block(24, pool), Outer)
        inner = outer.Inner
        InitializeListHead(cast(outer, PLIST_ENTRY))
        outer.Number, inner.First, inner.Second = int(outer), int(outer), 3
        where.append(int(outer))
        assert (outer.Number, outer.Inner.Second) == (int(outer), 3)
        ExFreePool(outer)
        touch(outer, inner)

    found = bugcheck_of(body, verifier=SPECIAL)
    assert found.parameters[:2] == (where[0] + offset, access)
    assert found.code in (0xD5, 0xCC)


def test_a_view_that_somebody_holds_faults_as_well(bugcheck_of) -> None:
    """The kernel keeps such views while a driver's routine runs and may free the memory."""
    where = []

    def body() -> None:
        pair = cast(block(16), Pair)
        view = pair._v
        view.Second = 7
        assert view.Second == 7
        where.append(int(pair))
        ExFreePool(pair)
        view.Second = 8

    found = bugcheck_of(body, verifier=SPECIAL)
    assert (found.code, *found.parameters[:2]) == (0xD5, where[0] + 8, WRITE)


def test_a_block_is_nonpaged_memory_until_it_is_freed(value_of) -> None:
    def body() -> list:
        one = block(24)
        found = [MmIsAddressValid(one), MmIsNonPagedSystemAddressValid(one)]
        ExFreePool(one)
        return [*found, MmIsAddressValid(one), MmIsNonPagedSystemAddressValid(one)]

    assert value_of(body, verifier=SPECIAL) == [True, True, False, False]


def test_addresses_come_back_after_many_frees(value_of, monkeypatch) -> None:
    """Address space and page tables are not used up by a driver that runs for long."""
    monkeypatch.setattr("ntsim.nt.vf.special_pool.REMEMBERED", 3)

    def body() -> list:
        seen = []
        for number in range(8):
            pair = cast(block(16), Pair)
            pair.First = number
            seen.append((int(pair), pair.First, cast(int(pair), Pair).First))
            ExFreePool(pair)
        return seen

    found = value_of(body, verifier=SPECIAL)
    assert [each[1:] for each in found] == [(n, n) for n in range(8)]
    first = [each[0] for each in found]
    assert len(set(first[:4])) == 4 and first[4:] == first[:4]


def test_an_irp_freed_in_its_completion_routine_stops_the_kernel(bugcheck_of) -> None:
    """It must answer STATUS_MORE_PROCESSING_REQUIRED; else IoCompleteRequest goes on with it."""
    where = []

    def freed(DeviceObject, Irp, Context) -> int:
        where.append(int(Irp))
        IoFreeIrp(Irp)
        return STATUS_SUCCESS

    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetCompletionRoutine(irp, freed, NULL, TRUE, TRUE, TRUE)
        IoSetNextIrpStackLocation(irp)
        irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(irp, IO_NO_INCREMENT)

    found = bugcheck_of(body, verifier="special-pool,io")
    assert (found.code, found.parameters[1]) == (0xCC, READ)
    assert where[0] <= found.parameters[0] < where[0] + IRP.size


def test_a_driver_that_keeps_a_completed_irp_faults_where_it_reads_it(crash_of) -> None:
    where = []

    def routine(DeviceObject, Irp) -> int:
        status, location = Irp.IoStatus, IoGetCurrentIrpStackLocation(Irp)
        where.append(int(location))
        status.Status, status.Information = STATUS_SUCCESS, 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return location.MajorFunction

    found, machine = crash_of(options={"verifier": "standard"}, device_control=routine)
    assert seen(found)[:3] == (0xD5, where[0], READ)
    assert "was freed" in " ".join(machine.report().to_text().split())
