"""Cached data by MDL, and writers held back. Source: WDK CcPrepareMdlWrite, CcMdlWriteComplete,
CcMdlWriteAbort, CcMdlRead, CcCanIWrite, CcDeferWrite."""

import pytest

from ntsim.wdm import *

from .test_cache import MARK, in_thread, large, on_volume, raised, ulong

PAGE, VIEW = 0x1000, VACB_MAPPING_GRANULARITY

assert on_volume


def parts(mdl) -> list[tuple[int, int]]:
    """(byte offset, byte count) of each MDL of a chain."""
    found = []
    while mdl:
        found.append((mdl.ByteOffset, mdl.ByteCount))
        mdl = cast(mdl.Next, PMDL) if mdl.Next else NULL
    return found


def mapped(mdl):
    return MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)


def test_a_read_describes_the_caches_own_pages(on_volume) -> None:
    def body(volume):
        file, block = volume.file(0x6000), IO_STATUS_BLOCK()
        mdl = CcMdlRead(file, large(0x2FF0), 0x1020, block)
        seen = [block.Status, block.Information, parts(mdl), volume.reads]
        seen += [ulong(mapped(mdl), 0x10) == MARK, mdl.MdlFlags & MDL_PAGES_LOCKED]
        _, bcb, buffer = CcMapData(file, large(0x3000), 0x1000, MAP_WAIT)
        cast(int(mapped(mdl)) + 0x10, ULONG)[0] = 7
        seen.append(ulong(buffer))
        CcUnpinData(bcb)
        refused = CcPurgeCacheSection(file.SectionObjectPointer, NULL, 0, 0)
        CcMdlReadComplete(file, mdl)
        return [*seen, refused, CcPurgeCacheSection(file.SectionObjectPointer, NULL, 0, 0)]

    assert on_volume(body) == [
        STATUS_SUCCESS, 0x1020, [(0xFF0, 0x1020)], [(0x2000, 0x3000)], True, MDL_PAGES_LOCKED, 7,
        False, True,
    ]  # fmt: skip


def test_what_spans_two_views_is_a_chain_of_two(on_volume) -> None:
    def body(volume):
        file = volume.file(2 * VIEW)
        mdl = CcMdlRead(file, large(VIEW - 0x800), 0x1000, IO_STATUS_BLOCK())
        found = parts(mdl)
        CcMdlReadComplete(file, mdl)
        return found

    assert on_volume(body) == [(0x800, 0x800), (0, 0x800)]


def test_a_prepared_write_reads_partial_pages_and_is_written_behind(on_volume) -> None:
    def body(volume):
        file, block = volume.file(0x6000), IO_STATUS_BLOCK()
        mdl = CcPrepareMdlWrite(file, large(0x800), 0x2800, block)
        seen = [block.Status, block.Information, list(volume.reads)]
        RtlFillMemory(mapped(mdl), 0x2800, 0x5A)
        CcMdlWriteComplete(file, large(0x800), mdl)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return [*seen, volume.writes, volume.content[0]]

    assert on_volume(body) == [
        STATUS_SUCCESS, 0x2800, [(0, 0x1000)], [(0, 0x3000)], b"\xba" * 8,
    ]  # fmt: skip


def test_an_aborted_write_leaves_nothing_dirty(on_volume) -> None:
    def body(volume):
        file = volume.file(0x6000)
        mdl = CcPrepareMdlWrite(file, large(0), 0x1000, IO_STATUS_BLOCK())
        CcMdlWriteAbort(file, mdl)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return volume.writes

    assert on_volume(body) == []


def test_a_write_through_file_is_written_before_the_return(on_volume) -> None:
    def body(volume):
        file = volume.file(0x6000)
        file.Flags |= FO_WRITE_THROUGH
        mdl = CcPrepareMdlWrite(file, large(0), 0x1000, IO_STATUS_BLOCK())
        CcMdlWriteComplete(file, large(0), mdl)
        return volume.writes

    assert on_volume(body) == [(0, 0x1000)]


def test_a_read_that_fails_is_raised_and_leaves_no_mdl(on_volume) -> None:
    def body(volume):
        file = volume.file(0x6000)
        volume.answer = STATUS_DISK_CORRUPT_ERROR
        block = IO_STATUS_BLOCK()
        status = raised(lambda: CcMdlRead(file, large(0), 0x1000, block))
        return status, CcPurgeCacheSection(file.SectionObjectPointer, NULL, 0, 0)

    assert on_volume(body) == (STATUS_DISK_CORRUPT_ERROR, True)


# Writers held back


def fill(file, size: int) -> None:
    """Make as much of a file dirty."""
    data = ExAllocatePoolZero(NonPagedPool, VIEW, 1)
    for at in range(0, size, VIEW):
        CcCopyWrite(file, large(at), VIEW, TRUE, data)


@pytest.mark.parametrize("dirty", [False, True])
def test_a_write_is_accepted_while_an_eighth_of_memory_is_not_dirty(on_volume, dirty) -> None:
    def body(volume):
        file = volume.file(16 << 20)
        if dirty:
            fill(file, 8 << 20)
        return bool(CcCanIWrite(file, 0x1000, FALSE, FALSE))

    assert on_volume(body, memory_mb=64) is not dirty


def test_a_deferred_write_is_posted_in_turn_when_the_lazy_writer_has_made_room(on_volume) -> None:
    def body(volume):
        file, posted = volume.file(16 << 20), []

        def post(Context1, Context2):
            posted.append((int(Context1), int(Context2)))

        CcDeferWrite(file, post, 1, 2, 0x1000, FALSE)
        at_once = list(posted)
        fill(file, 8 << 20)
        CcDeferWrite(file, post, 3, 4, 0x1000, FALSE)
        CcDeferWrite(file, post, 5, 6, 0x1000, FALSE)
        before = list(posted)
        KeDelayExecutionThread(KernelMode, FALSE, large(-30_000_000))
        return at_once, before, posted

    assert on_volume(body, memory_mb=64) == (
        [(1, 2)], [(1, 2)], [(1, 2), (3, 4), (5, 6)],
    )  # fmt: skip


def test_who_waits_can_write_in_the_end(on_volume) -> None:
    def body(volume):
        file = volume.file(16 << 20)
        fill(file, 8 << 20)
        return bool(in_thread(lambda: CcCanIWrite(file, 0x1000, TRUE, FALSE)))

    assert on_volume(body, memory_mb=64) is True
