"""DMA verification: every mistake that 0xE6 names and a driver of a bus master can make.

Source: WDK Bug Check 0xE6 (parameters as its table has them), "DMA Verification".
"""

import pytest

from ntsim.wdm import *

SIZE = 0x1800
PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL = 0, 1, 2
Driver: list = []


def description(version=DEVICE_DESCRIPTION_VERSION, length=0x4000, gathers=TRUE):
    made = DEVICE_DESCRIPTION()
    made.Version, made.Master, made.ScatterGather = version, TRUE, gathers
    made.Dma64BitAddresses, made.MaximumLength = TRUE, length
    return made


def new_adapter(**named):
    return IoGetDmaAdapter(NULL, description(**named))[0]


def device():
    return IoCreateDevice(Driver[0], 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]


def common_buffer(adapter, length):
    """A common buffer and its logical address."""
    logical = LARGE_INTEGER()
    return HalAllocateCommonBuffer(adapter, length, logical, TRUE), logical.QuadPart


def locked(size=SIZE, at=0x100):
    buffer = ExAllocatePoolWithTag(NonPagedPoolNx, size + at, 0x20616D44) + at
    mdl = IoAllocateMdl(buffer, size, FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    return buffer, mdl


def length_of(count):
    made = ULONG()
    made[0] = count
    return made


def with_channel(adapter, registers, work, action=DeallocateObject):
    """Call `work(base)` with the channel and so many map registers."""

    def control(DeviceObject, Irp, MapRegisterBase, Context) -> int:
        work(MapRegisterBase)
        return action

    here = device()
    old = KeRaiseIrql(DISPATCH_LEVEL)
    IoAllocateAdapterChannel(adapter, here, registers, control, NULL)
    KeLowerIrql(old)


def kept_registers(adapter, count):
    """The base of map registers that are kept; the channel is free again."""
    found = []
    with_channel(adapter, count, found.append, DeallocateObjectKeepRegisters)
    return found[0]


def new_list(adapter, buffer, mdl, size=SIZE, writes=TRUE):
    found = []

    def control(DeviceObject, Irp, ScatterGather, Context) -> None:
        found.append(cast(ScatterGather, PSCATTER_GATHER_LIST))

    here = device()
    old = KeRaiseIrql(DISPATCH_LEVEL)
    HalGetScatterGatherList(adapter, here, mdl, buffer, size, control, NULL, writes)
    KeLowerIrql(old)
    return found[0]


def put_list(adapter, chain, writes=TRUE) -> None:
    old = KeRaiseIrql(DISPATCH_LEVEL)
    HalPutScatterGatherList(adapter, chain, writes)
    KeLowerIrql(old)


@pytest.fixture
def stop(ntsim_machine):
    """(code, four parameters) of a driver that does `body`; and the report."""
    from ntsim.errors import BugCheck

    def run(body, verifier="dma"):
        machine = ntsim_machine(verifier=verifier)

        def DriverEntry(DriverObject, RegistryPath) -> int:
            Driver[:] = [DriverObject]
            body()
            return STATUS_SUCCESS

        with pytest.raises(BugCheck) as caught:
            machine.load_driver(DriverEntry, name="dma.sys")
        assert machine.report().summary
        return (caught.value.code, *caught.value.parameters)

    return run


def test_a_driver_without_mistakes(ntsim_machine) -> None:
    done = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        Driver[:] = [DriverObject]
        adapter, (buffer, mdl) = new_adapter(), locked()
        common, logical = common_buffer(adapter, 100)
        write_bytes(common, bytes(100))
        HalFreeCommonBuffer(adapter, 100, logical, common, TRUE)

        def work(base) -> None:
            write_bytes(buffer, b"there")
            logical = IoMapTransfer(adapter, mdl, base, buffer, length_of(SIZE), TRUE)
            mapped = MmMapIoSpace(int(logical), 5, MmNonCached)
            done.append(read_bytes(mapped, 5))
            IoFlushAdapterBuffers(adapter, mdl, base, buffer, SIZE, TRUE)

        with_channel(adapter, 3, work)
        put_list(adapter, new_list(adapter, buffer, mdl))
        base = kept_registers(adapter, 2)
        old = KeRaiseIrql(DISPATCH_LEVEL)
        IoFreeMapRegisters(adapter, base, 2)
        KeLowerIrql(old)
        adapter.DmaOperations.PutDmaAdapter(adapter)
        return STATUS_SUCCESS

    ntsim_machine(verifier="standard").load_driver(DriverEntry, name="dma.sys")
    assert done == [b"there"]


def test_0_1_more_is_flushed_than_was_mapped(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            IoMapTransfer(adapter, mdl, base, buffer, length_of(0x1000), TRUE)
            IoFlushAdapterBuffers(adapter, mdl, base, buffer, 0x1234, TRUE)

        with_channel(adapter, 3, work)

    assert stop(body) == (0xE6, 0x0, 1, 0x800, 0x234)


def test_0_2_a_transfer_that_needs_more_map_registers_than_there_are(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        offset = 0x1000 - (buffer & 0xFFF) - 16  # 32 bytes from there lie in two pages

        def work(base) -> None:
            IoMapTransfer(adapter, mdl, base, buffer + offset, length_of(32), TRUE)

        with_channel(adapter, 1, work)

    assert stop(body) == (0xE6, 0x0, 2, 2, 1)


def test_3_a_common_buffer_freed_twice(stop) -> None:
    def body() -> None:
        adapter = new_adapter()
        buffer, logical = common_buffer(adapter, 100)
        for _ in range(2):
            adapter.DmaOperations.FreeCommonBuffer(adapter, 100, logical, buffer, TRUE)

    assert stop(body) == (0xE6, 0x3, 1, 0, 0)


def test_4_a_channel_freed_that_is_not_allocated(stop) -> None:
    def body() -> None:
        adapter = new_adapter()
        KeRaiseIrql(DISPATCH_LEVEL)
        IoFreeAdapterChannel(adapter)

    assert stop(body) == (0xE6, 0x4, 1, 0, 0)


def test_5_map_registers_freed_that_are_not_allocated(stop) -> None:
    def body() -> None:
        adapter = new_adapter()
        base = kept_registers(adapter, 2)
        KeRaiseIrql(DISPATCH_LEVEL)
        IoFreeMapRegisters(adapter, base, 5)

    assert stop(body) == (0xE6, 0x5, 3, 0, 0)


def test_6_a_list_freed_twice(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        chain = new_list(adapter, buffer, mdl)
        put_list(adapter, chain)
        put_list(adapter, chain)

    assert stop(body) == (0xE6, 0x6, 1, 2, 0)


def one_buffer(adapter) -> None:
    common_buffer(adapter, 100)


def one_channel(adapter) -> None:
    with_channel(adapter, 0, lambda base: None, KeepObject)


def two_registers(adapter) -> None:
    kept_registers(adapter, 2)


def one_list(adapter) -> None:
    new_list(adapter, *locked())


@pytest.mark.parametrize(
    ("kind", "leave", "count"),
    [(0x7, one_buffer, 1), (0x8, one_channel, 1), (0x9, two_registers, 2), (0xA, one_list, 1)],
)
def test_an_adapter_released_with_something_left(stop, kind, leave, count) -> None:
    where = []

    def body() -> None:
        adapter = new_adapter()
        where.append(int(adapter))
        leave(adapter)
        adapter.DmaOperations.PutDmaAdapter(adapter)

    found = stop(body)
    assert found[:4] == (0xE6, kind, where[0], count)
    assert found[4]


def test_b_a_second_channel(stop) -> None:
    def body() -> None:
        adapter = new_adapter()
        with_channel(adapter, 0, lambda base: None, KeepObject)
        with_channel(adapter, 0, lambda base: None)

    assert stop(body) == (0xE6, 0xB, 2, 0, 0)


def test_c_more_map_registers_than_the_adapter_may_have(stop) -> None:
    def body() -> None:
        with_channel(new_adapter(), 6, lambda base: None)

    assert stop(body) == (0xE6, 0xC, 6, 5, 0)


def test_d_transfers_that_are_not_flushed(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            for offset in (0, 0xC00):
                IoMapTransfer(adapter, mdl, base, buffer + offset, length_of(0xC00), TRUE)

        with_channel(adapter, 1, work)

    assert stop(body) == (0xE6, 0xD, 0x1800, 0x1000, 0)


def test_e_a_buffer_that_is_not_locked(stop) -> None:
    where = []

    def body() -> None:
        adapter = new_adapter()
        buffer = ExAllocatePoolWithTag(PagedPool, 64, 0x20616D44)
        mdl = IoAllocateMdl(buffer, 64, FALSE, FALSE, NULL)
        where.append(int(mdl))
        new_list(adapter, buffer, mdl, 64)

    found = stop(body)
    assert found == (0xE6, 0xE, where[0], 0, 0)


@pytest.mark.parametrize(
    ("offset", "kind"), [(-1, 1), (-8, 1), (100, 2), (107, 2), (-9, 4), (-4000, 4), (108, 5)]
)
def test_f_bytes_around_a_common_buffer_were_written(stop, offset, kind) -> None:
    where = []

    def body() -> None:
        adapter = new_adapter()
        buffer, logical = common_buffer(adapter, 100)
        where.append(buffer)
        write_bytes(buffer + offset, b"!")
        HalFreeCommonBuffer(adapter, 100, logical, buffer, TRUE)

    found = stop(body)
    last = (100, where[0]) if kind < 4 else (where[0], where[0] + offset)
    assert found == (0xE6, 0xF, kind, *last)


def test_f_3_a_map_register_written_that_holds_nothing(stop) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        base = kept_registers(adapter, 3)
        where.append(base)
        KeRaiseIrql(DISPATCH_LEVEL)
        logical = IoMapTransfer(adapter, mdl, base, buffer, length_of(16), FALSE)
        IoFlushAdapterBuffers(adapter, mdl, base, buffer, 16, FALSE)
        late = MmMapIoSpace(int(logical), 16, MmNonCached)
        write_bytes(late, b"too late")
        where.append(buffer & 0xFFF)
        IoFreeMapRegisters(adapter, base, 3)

    found = stop(body)
    assert found == (0xE6, 0xF, 3, where[0] + where[1], 0)


@pytest.mark.parametrize(("offset", "kind"), [(-3, 4), (16, 5)])
def test_f_the_device_writes_beside_the_buffer(stop, offset, kind) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            logical = IoMapTransfer(adapter, mdl, base, buffer, length_of(16), FALSE)
            beside = MmMapIoSpace(int(logical) + offset, 1, MmNonCached)
            write_bytes(beside, b"!")
            start = base + (buffer & 0xFFF)
            where.extend((start, start + offset))
            IoFlushAdapterBuffers(adapter, mdl, base, buffer, 16, FALSE)

        with_channel(adapter, 2, work)

    found = stop(body)
    assert found == (0xE6, 0xF, kind, *where)


def test_10_map_registers_freed_that_are_mapped(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        base = kept_registers(adapter, 3)
        KeRaiseIrql(DISPATCH_LEVEL)
        IoMapTransfer(adapter, mdl, base, buffer, length_of(SIZE), TRUE)
        IoFreeMapRegisters(adapter, base, 3)

    found = stop(body)
    assert found[:2] == (0xE6, 0x10) and found[2] in (2, 3) and found[3:] == (0, 0)


def at(level, routine, *arguments):
    def body(adapter) -> None:
        KeRaiseIrql(level)
        routine(adapter, *arguments)

    return body


@pytest.mark.parametrize(
    ("wrong", "parameters"),
    [
        (at(DISPATCH_LEVEL, lambda a: common_buffer(a, 16)), (1, 0, 2)),
        (at(APC_LEVEL, lambda a: HalFreeCommonBuffer(a, 16, 0, 0, TRUE)), (1, 0, 1)),
        (at(DISPATCH_LEVEL, lambda a: a.DmaOperations.PutDmaAdapter(a)), (1, 0, 2)),
        (at(DISPATCH_LEVEL, lambda a: HalGetDmaAlignment(a)), (1, 0, 2)),
        (at(DISPATCH_LEVEL, lambda a: new_adapter()), (1, 0, 2)),
        (at(PASSIVE_LEVEL, lambda a: IoFreeMapRegisters(a, 0, 0)), (1, 2, 0)),
        (at(PASSIVE_LEVEL, lambda a: IoFreeAdapterChannel(a)), (1, 2, 0)),
        (at(APC_LEVEL, lambda a: IoAllocateAdapterChannel(a, device(), 1, 0, 0)), (1, 2, 1)),
        (at(3, lambda a: HalPutScatterGatherList(a, 0, TRUE)), (1, 2, 3)),
        (at(3, lambda a: HalReadDmaCounter(a)), (2, 2, 3)),
        (at(3, lambda a: IoMapTransfer(a, 0, 0, 0, ULONG(), TRUE)), (2, 2, 3)),
    ],
)
def test_13_a_routine_called_at_a_wrong_irql(stop, wrong, parameters) -> None:
    assert stop(lambda: wrong(new_adapter())) == (0xE6, 0x13, *parameters)


def test_15_more_map_registers_in_all_than_the_adapter_may_have(stop) -> None:
    def body() -> None:
        adapter = new_adapter()
        kept_registers(adapter, 3)
        kept_registers(adapter, 3)

    assert stop(body) == (0xE6, 0x15, 6, 5, 0)


def test_16_a_flush_of_what_is_not_mapped(stop) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            where.append(base)
            IoMapTransfer(adapter, mdl, base, buffer, length_of(16), TRUE)
            IoFlushAdapterBuffers(adapter, mdl, base, buffer + 64, 16, TRUE)

        with_channel(adapter, 2, work)

    found = stop(body)
    assert found[:3] == (0xE6, 0x16, where[0])
    assert found[3] and not found[4]


def test_18_an_adapter_used_after_its_release(stop) -> None:
    where = []

    def body() -> None:
        adapter = new_adapter()
        where.append(int(adapter))
        adapter.DmaOperations.PutDmaAdapter(adapter)
        HalReadDmaCounter(adapter)

    found = stop(body)
    assert found[:3] == (0xE6, 0x18, where[0])
    assert found[3] and not found[4]


def test_19_no_adapter(stop) -> None:
    assert stop(lambda: HalReadDmaCounter(NULL)) == (0xE6, 0x19, 0, 0, 0)


@pytest.mark.parametrize(("offset", "count", "bad"), [(-4, 8, -4), (SIZE - 8, 16, SIZE + 8)])
def test_1b_an_address_outside_the_mdl(stop, offset, count, bad) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        where.extend((buffer + bad, int(mdl)))
        with_channel(
            adapter, 3,
            lambda base: IoMapTransfer(adapter, mdl, base, buffer + offset, length_of(count), TRUE),
        )  # fmt: skip

    found = stop(body)
    assert found == (0xE6, 0x1B, *where, 0)


def test_1d_a_range_mapped_twice(stop) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            where.extend((buffer + 16, buffer + 48, buffer + 32))
            IoMapTransfer(adapter, mdl, base, buffer + 32, length_of(32), TRUE)
            IoMapTransfer(adapter, mdl, base, buffer + 16, length_of(32), TRUE)

        with_channel(adapter, 3, work)

    found = stop(body)
    assert found == (0xE6, 0x1D, *where)


def test_1e_an_obsolete_routine(stop) -> None:
    assert stop(lambda: HalGetAdapter(description())) == (0xE6, 0x1E, 0, 0, 0)


@pytest.mark.parametrize(("offset", "kind"), [(-1, 1), (SIZE, 2)])
def test_1f_a_list_of_an_address_outside_the_first_mdl(stop, offset, kind) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        where.extend((buffer + offset, int(mdl)))
        new_list(adapter, buffer + offset, mdl, 16)

    found = stop(body)
    assert found == (0xE6, 0x1F, kind, *where)


def test_1f_3_a_list_that_is_longer_than_the_mdl(stop) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        where.append(int(mdl))
        new_list(adapter, buffer, mdl, SIZE + 0x1000)

    found = stop(body)
    assert found == (0xE6, 0x1F, 3, where[0], SIZE + 0x1000)


def test_20_a_flush_with_nothing_mapped(stop) -> None:
    where = []

    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()

        def work(base) -> None:
            where.extend((base, buffer, int(mdl)))
            IoFlushAdapterBuffers(adapter, mdl, base, buffer, 16, TRUE)

        with_channel(adapter, 2, work)

    found = stop(body)
    assert found == (0xE6, 0x20, *where)


@pytest.mark.parametrize("lists", [True, False])
def test_21_a_transfer_of_no_bytes(stop, lists) -> None:
    def body() -> None:
        adapter, (buffer, mdl) = new_adapter(), locked()
        if lists:
            new_list(adapter, buffer, mdl, 0)
        with_channel(
            adapter, 2,
            lambda base: IoMapTransfer(adapter, mdl, base, buffer, length_of(0), TRUE),
        )  # fmt: skip

    found = stop(body)
    assert found[:2] == (0xE6, 0x21)
    assert found[2] and found[3:] == (0, 0)


def test_24_a_chain_of_mdls_that_is_too_short(stop) -> None:
    def body() -> None:
        adapter, (buffer, mdl), (_, tail) = new_adapter(), locked(0x800), locked(0x100)
        mdl.Next = tail
        new_list(adapter, buffer, mdl, 0x1000)

    assert stop(body) == (0xE6, 0x24, 0x700, 0, 0)


def test_25_a_description_of_an_unknown_version(stop) -> None:
    assert stop(lambda: new_adapter(version=4)) == (0xE6, 0x25, 0, 0, 0)


def test_the_reports_say_what_happened(ntsim_machine) -> None:
    from ntsim.errors import BugCheck

    def DriverEntry(DriverObject, RegistryPath) -> int:
        adapter = new_adapter()
        common_buffer(adapter, 100)
        adapter.DmaOperations.PutDmaAdapter(adapter)
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="dma")
    with pytest.raises(BugCheck):
        machine.load_driver(DriverEntry, name="dma.sys")
    text = " ".join(machine.report().to_text().split())
    assert "was released with 1 common buffer allocated" in text
    assert "A common buffer was allocated." in text and "HalAllocateCommonBuffer" in text
