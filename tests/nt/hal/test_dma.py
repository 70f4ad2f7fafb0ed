"""DMA adapters: common buffers, map registers, scatter/gather lists.

Source: WDK IoGetDmaAdapter, DEVICE_DESCRIPTION, DMA_OPERATIONS and its routines, "Map Registers",
"Using Bus-Master DMA".
"""

import pytest

from ntsim.wdm import *

SIZE = 10_000
DATA = bytes(i * 7 & 0xFF for i in range(SIZE))


def description(gathers=True, bits=64, length=0x10000, version=DEVICE_DESCRIPTION_VERSION, **more):
    made = DEVICE_DESCRIPTION()
    made.Version, made.Master, made.ScatterGather = version, TRUE, gathers
    made.Dma32BitAddresses, made.Dma64BitAddresses = bits == 32, bits == 64
    made.InterfaceType, made.MaximumLength = PCIBus, length
    for name, value in more.items():
        setattr(made, name, value)
    return made


def adapter_of(*arguments, **named):
    made, _ = IoGetDmaAdapter(NULL, description(*arguments, **named))
    assert made
    return made


def common(adapter, length):
    """A common buffer and its logical address."""
    logical = LARGE_INTEGER()
    return HalAllocateCommonBuffer(adapter, length, logical, TRUE), logical.QuadPart


def locked(size: int = SIZE, at: int = 100):
    """A nonpaged buffer that begins inside a page, and its MDL."""
    buffer = ExAllocatePoolWithTag(NonPagedPoolNx, size + at, 0x20616D44) + at
    write_bytes(buffer, DATA[:size])
    mdl = IoAllocateMdl(buffer, size, FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    return buffer, mdl


Drivers: list = []


def device():
    return IoCreateDevice(Drivers[0], 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]


@pytest.fixture
def run(ntsim_machine):
    """What `body` returns as part of a DriverEntry; `machine` is where it ran."""

    def go(body, **options):
        found = []
        machine = ntsim_machine(**options)

        def DriverEntry(DriverObject, RegistryPath) -> int:
            Drivers[:] = [DriverObject]
            found.append(body())
            return STATUS_SUCCESS

        machine.load_driver(DriverEntry, name="drv.sys")
        return found[0]

    return go


@pytest.mark.parametrize(
    ("named", "registers"),
    [({"length": 0x10000}, 17), ({"length": 1}, 2), ({"gathers": False, "length": 1 << 28}, 1024)],
)
def test_map_registers_follow_from_the_maximum_length(run, named, registers) -> None:
    def body() -> list:
        adapter, count = IoGetDmaAdapter(NULL, description(**named))
        operations = adapter.DmaOperations
        return [count, adapter.Version, adapter.Size, operations.Size]

    assert run(body) == [registers, 1, 16, 0x88]


def test_no_adapter_for_a_slave_or_an_unknown_version(run) -> None:
    def body() -> list:
        slave, unknown = description(Master=FALSE), description(version=4)
        return [int(IoGetDmaAdapter(NULL, each)[0]) for each in (slave, unknown)]

    assert run(body) == [0, 0]


def test_a_common_buffer_is_contiguous_and_within_reach(run) -> None:
    def body() -> list:
        adapter = adapter_of(bits=0)
        operations, logical = adapter.DmaOperations, LARGE_INTEGER()
        buffer = operations.AllocateCommonBuffer(adapter, 3 * 0x1000, logical, TRUE)
        pages = [int(MmGetPhysicalAddress(buffer + i * 0x1000)) for i in range(3)]
        found = [pages == [logical.QuadPart + i * 0x1000 for i in range(3)], pages[-1] < 1 << 24]
        operations.FreeCommonBuffer(adapter, 3 * 0x1000, logical, buffer, TRUE)
        other, address = common(adapter, 16)
        found.append(address == int(MmGetPhysicalAddress(other)))
        operations.PutDmaAdapter(adapter)
        return found

    assert run(body) == [True, True, True]


def test_a_device_that_gathers_is_given_the_pages_of_the_buffer(run) -> None:
    def body() -> list:
        adapter, (buffer, mdl) = adapter_of(), locked()
        seen = []

        def control(DeviceObject, Irp, ListAddress, Context) -> None:
            chain = cast(ListAddress, PSCATTER_GATHER_LIST)
            for i in range(chain.NumberOfElements):
                element = cast(
                    int(chain) + 16 + i * sizeof(SCATTER_GATHER_ELEMENT), PSCATTER_GATHER_ELEMENT
                )
                seen.append((element.Address.QuadPart, element.Length))
            adapter.DmaOperations.PutScatterGatherList(adapter, chain, TRUE)

        old = KeRaiseIrql(DISPATCH_LEVEL)
        status = adapter.DmaOperations.GetScatterGatherList(
            adapter, device(), mdl, buffer, SIZE, control, NULL, TRUE
        )
        KeLowerIrql(old)
        bytes_there = [
            int(MmGetPhysicalAddress(buffer + offset)) in range(a, a + n)
            for offset in (0, 4000, SIZE - 1)
            for a, n in seen
        ]
        return [status, sum(n for _, n in seen), sum(bytes_there)]

    assert run(body) == [STATUS_SUCCESS, SIZE, 3]


def elements(chain) -> list:
    """(logical address, length) of each element of a list."""
    found = []
    for i in range(chain.NumberOfElements):
        at = int(chain) + sizeof(SCATTER_GATHER_LIST) + i * sizeof(SCATTER_GATHER_ELEMENT)
        element = cast(at, PSCATTER_GATHER_ELEMENT)
        found.append((element.Address.QuadPart, element.Length))
    return found


def at_dispatch(routine, *arguments):
    old = KeRaiseIrql(DISPATCH_LEVEL)
    found = routine(*arguments)
    KeLowerIrql(old)
    return found


def physical_bytes(address: int, size: int) -> bytes:
    """What a device reads there."""
    mapped = MmMapIoSpace(address, size, MmNonCached)
    data = read_bytes(mapped, size)
    MmUnmapIoSpace(mapped, size)
    return data


def store_physical(address: int, data: bytes) -> None:
    """A device writes."""
    mapped = MmMapIoSpace(address, len(data), MmNonCached)
    write_bytes(mapped, data)
    MmUnmapIoSpace(mapped, len(data))


# Most pages of such a machine lie above 16 MiB, which a device without Dma32BitAddresses does not
# reach.
FAR = {"memory_mb": 256}


@pytest.mark.parametrize("gathers", [True, False])
@pytest.mark.parametrize("bits", [0, 64])
def test_a_transfer_there_and_back_whatever_the_device_reaches(run, gathers, bits) -> None:
    def body() -> list:
        adapter, (buffer, mdl) = adapter_of(gathers, bits), locked()
        operations, here, notes = adapter.DmaOperations, device(), []

        def transfer(base, writes, act) -> int:
            """Every piece of the buffer, as a driver of a bus master does it."""
            offset, pieces = 0, 0
            while offset < SIZE:
                length = ULONG()
                length[0] = SIZE - offset
                logical = operations.MapTransfer(
                    adapter, mdl, base, buffer + offset, length, writes
                )
                act(int(logical), offset, length[0])
                offset, pieces = offset + length[0], pieces + 1
            assert operations.FlushAdapterBuffers(adapter, mdl, base, buffer, SIZE, writes)
            return pieces

        def control(DeviceObject, Irp, MapRegisterBase, Context) -> int:
            got = bytearray(SIZE)

            def device_reads(logical, offset, length) -> None:
                got[offset : offset + length] = physical_bytes(logical, length)
                notes.append(bits == 64 or logical + length <= 1 << 24)

            pieces = transfer(MapRegisterBase, TRUE, device_reads)
            notes.append(bytes(got) == DATA)
            notes.append(gathers or pieces == 1)

            def device_writes(logical, offset, length) -> None:
                part = DATA[offset : offset + length]
                store_physical(logical, bytes(b ^ 0xFF for b in part))

            transfer(MapRegisterBase, FALSE, device_writes)
            notes.append(read_bytes(buffer, SIZE) == bytes(b ^ 0xFF for b in DATA))
            notes.append((int(DeviceObject), Irp, Context) == (int(here), 0, 77))
            operations.FreeMapRegisters(adapter, MapRegisterBase, 4)
            return DeallocateObjectKeepRegisters

        status = at_dispatch(operations.AllocateAdapterChannel, adapter, here, 4, control, 77)
        operations.PutDmaAdapter(adapter)
        return [status, len(notes) >= 5, all(notes)]

    assert run(body, **FAR) == [STATUS_SUCCESS, True, True]


def test_what_the_device_wrote_is_in_the_buffer_after_the_flush_only(run) -> None:
    def body() -> list:
        adapter, (buffer, mdl) = adapter_of(gathers=False), locked()
        found = []

        def control(DeviceObject, Irp, base, Context) -> int:
            length = ULONG()
            length[0] = SIZE
            logical = IoMapTransfer(adapter, mdl, base, buffer, length, FALSE)
            store_physical(int(logical), b"new!")
            found.append(read_bytes(buffer, 4) == DATA[:4])
            IoFlushAdapterBuffers(adapter, mdl, base, buffer, SIZE, FALSE)
            found.append(read_bytes(buffer, 4))
            return DeallocateObject

        at_dispatch(IoAllocateAdapterChannel, adapter, device(), 4, control, NULL)
        return found

    assert run(body) == [True, b"new!"]


def test_a_second_request_waits_until_the_channel_is_free(run) -> None:
    def body() -> list:
        adapter, order = adapter_of(gathers=False), []

        def keeps(DeviceObject, Irp, base, Context) -> int:
            order.append(("first", KeGetCurrentIrql()))
            return KeepObject

        def next_one(DeviceObject, Irp, base, Context) -> int:
            order.append(("second", bool(base)))
            return DeallocateObject

        old = KeRaiseIrql(DISPATCH_LEVEL)
        IoAllocateAdapterChannel(adapter, device(), 2, keeps, NULL)
        IoAllocateAdapterChannel(adapter, device(), 2, next_one, NULL)
        order.append("free")
        IoFreeAdapterChannel(adapter)
        KeLowerIrql(old)
        return order

    assert run(body) == [("first", 2), "free", ("second", True)]


def test_a_request_waits_for_map_registers_of_another_adapter(run) -> None:
    def body() -> list:
        length, order, bases = 700 * 0x1000, [], []
        one, two = adapter_of(False, 64, length), adapter_of(False, 64, length)

        def keeps(DeviceObject, Irp, base, Context) -> int:
            order.append("first")
            bases.append(base)
            return DeallocateObjectKeepRegisters

        def waits(DeviceObject, Irp, base, Context) -> int:
            order.append("second")
            return DeallocateObject

        old = KeRaiseIrql(DISPATCH_LEVEL)
        status = [IoAllocateAdapterChannel(one, device(), 700, keeps, NULL)]
        status.append(IoAllocateAdapterChannel(two, device(), 700, waits, NULL))
        order.append("free")
        IoFreeMapRegisters(one, bases[0], 700)
        KeLowerIrql(old)
        too_many = at_dispatch(IoAllocateAdapterChannel, one, device(), 702, keeps, NULL)
        return [status, order, too_many]

    expected = [[0, 0], ["first", "free", "second"], STATUS_INSUFFICIENT_RESOURCES]
    assert run(body, memory_mb=96) == expected


@pytest.mark.parametrize("bits", [0, 64])
def test_a_list_goes_on_in_chained_mdls(run, bits) -> None:
    def body() -> list:
        adapter, (buffer, mdl), (_, tail) = adapter_of(bits=bits), locked(), locked(3000, 8)
        mdl.Next = tail
        found = []

        def control(DeviceObject, Irp, ListAddress, Context) -> None:
            chain = cast(ListAddress, PSCATTER_GATHER_LIST)
            data = b"".join(physical_bytes(a, n) for a, n in elements(chain))
            found.append(data == DATA + DATA[:3000])
            adapter.DmaOperations.PutScatterGatherList(adapter, chain, TRUE)

        operations = adapter.DmaOperations
        registers = ULONG()
        status, size = operations.CalculateScatterGatherList(
            adapter, mdl, buffer, SIZE + 3000, registers
        )
        pages = (size - sizeof(SCATTER_GATHER_LIST)) // sizeof(SCATTER_GATHER_ELEMENT)
        get = operations.GetScatterGatherList
        found.append(at_dispatch(
            get, adapter, device(), mdl, buffer, SIZE + 3000, control, NULL, TRUE
        ))  # fmt: skip
        return [*found, status, pages == registers[0] == 4]

    assert run(body, **FAR) == [True, STATUS_SUCCESS, STATUS_SUCCESS, True]


def test_a_list_in_the_drivers_own_buffer(run) -> None:
    def body() -> list:
        adapter, (buffer, mdl) = adapter_of(), locked()
        operations, seen = adapter.DmaOperations, []
        _, size = operations.CalculateScatterGatherList(adapter, mdl, buffer, SIZE, NULL)
        room = ExAllocatePoolWithTag(NonPagedPoolNx, size, 0x20616D44)

        def control(DeviceObject, Irp, ListAddress, Context) -> None:
            seen.append(ListAddress == room)
            _, target = operations.BuildMdlFromScatterGatherList(adapter, ListAddress, mdl)
            seen.append(int(target) == int(mdl))
            operations.PutScatterGatherList(adapter, ListAddress, FALSE)

        build = operations.BuildScatterGatherList
        arguments = adapter, device(), mdl, buffer, SIZE, control, NULL, FALSE, room
        seen.append(at_dispatch(build, *arguments, size))
        seen.append(at_dispatch(build, *arguments, size - 1))
        ExFreePool(room)
        return seen

    assert run(body) == [True, True, STATUS_SUCCESS, STATUS_BUFFER_TOO_SMALL]


def test_small_questions(run) -> None:
    def body() -> list:
        adapter = adapter_of()
        operations = adapter.DmaOperations
        return [operations.GetDmaAlignment(adapter), operations.ReadDmaCounter(adapter)]

    assert run(body) == [1, 0]


def test_an_adapter_that_never_was_one(bugcheck_of) -> None:
    found = bugcheck_of(lambda: HalReadDmaCounter(0x1234_5678_0000))
    assert found.code in (0x50, 0x7E, 0x3B, 0xA)


class Card:
    """A bus master: register 0 the address, 4 the length, 8 starts; it counts the bytes up."""

    def __init__(self) -> None:
        self.values, self.bus = {}, None

    def attach(self, bus) -> None:
        self.bus = bus

    def register_out(self, offset, size, value) -> None:
        self.values[offset] = value
        if offset == 8:
            data = self.bus.dma_read(self.values[0], self.values[4])
            self.bus.dma_write(self.values[0], bytes(b + 1 & 0xFF for b in data))
            self.bus.interrupt()


def test_a_device_of_the_bus_reaches_a_common_buffer(ntsim_machine) -> None:
    found = []

    def start(Registers) -> None:
        adapter = adapter_of()
        buffer, logical = common(adapter, 64)
        write_bytes(buffer, bytes(range(64)))
        for offset, value in ((0, logical), (4, 64), (8, 1)):
            WRITE_REGISTER_ULONG(Registers + offset, value)
        found.append(read_bytes(buffer, 64) == bytes(range(1, 65)))

    def pnp(DeviceObject, Irp) -> int:
        stack = IoGetCurrentIrpStackLocation(Irp)
        if stack.MinorFunction == IRP_MN_START_DEVICE:
            given = stack.Parameters.StartDevice.AllocatedResourcesTranslated
            listed = cast(given, CM_RESOURCE_LIST).List[0].PartialResourceList
            for i in range(listed.Count):
                partial = listed.PartialDescriptors[i]
                if partial.Type == CmResourceTypeMemory:
                    memory = partial.u.Memory
                    start(MmMapIoSpace(memory.Start.QuadPart, memory.Length, MmNonCached))
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoSkipCurrentIrpStackLocation(Irp)
        return IoCallDriver(below[0], Irp)

    below = []

    def add(DriverObject, PhysicalDeviceObject) -> int:
        _, fdo = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        below.append(IoAttachDeviceToDeviceStack(fdo, PhysicalDeviceObject))
        fdo.Flags &= ~DO_DEVICE_INITIALIZING
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverExtension.AddDevice = add
        DriverObject.MajorFunction[IRP_MJ_PNP] = pnp
        return STATUS_SUCCESS

    machine = ntsim_machine()
    driver = machine.load_driver(DriverEntry, name="card.sys")
    card = machine.plug("ROOT\\CARD", driver, memory=(16,), interrupts=(5,), model=Card())
    assert found == [True]
    address = machine.nt.mm.ram.size - 2
    card.dma_write(address, b"abcd")
    assert card.dma_read(address, 4) == b"ab\xff\xff"
