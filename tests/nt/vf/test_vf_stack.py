"""I/O verification of IRPs on their way through a stack; invariant MDLs; memory that is free.

Source: WDK Bug Check 0xC9 (parameters of its table) and 0xC4; "I/O Verification"; the IRP_MN_*
pages; "Invariant MDL Checking for Stack".
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

UNKNOWN_PNP, UNKNOWN_POWER = 0x7F, 0x20


def seen(bugcheck) -> tuple:
    return (bugcheck.code, *bugcheck.parameters)


def done(Irp, status=STATUS_SUCCESS, information: int = 0) -> int:
    Irp.IoStatus.Status, Irp.IoStatus.Information = status, information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


@dataclass
class Layer:
    """A driver of a stack: `handle(DeviceObject, Irp, below)` is its dispatch routine, for all
    major functions or for those of `majors`."""

    handle: Any
    below_layer: Any = None
    majors: tuple[int, ...] = (IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_SYSTEM_CONTROL, IRP_MJ_READ)
    device: Any = None
    below: Any = None
    driver: Any = None
    extra: list = field(default_factory=list)

    def entry(self):
        def dispatch(DeviceObject, Irp) -> int:
            return self.handle(DeviceObject, Irp, self.below)

        def DriverEntry(DriverObject, RegistryPath) -> int:
            _, self.device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            if self.below_layer is not None:
                self.below = IoAttachDeviceToDeviceStack(self.device, self.below_layer.device)
            self.device.Flags &= ~DO_DEVICE_INITIALIZING
            for major in self.majors:
                DriverObject.MajorFunction[major] = dispatch
            return STATUS_SUCCESS

        return DriverEntry


def pass_down(DeviceObject, Irp, below) -> int:
    IoSkipCurrentIrpStackLocation(Irp)
    return IoCallDriver(below, Irp)


def succeeds(DeviceObject, Irp, below) -> int:
    return done(Irp)


def keeps(DeviceObject, Irp, below) -> int:
    IoMarkIrpPending(Irp)
    return STATUS_PENDING


@pytest.fixture
def crash(ntsim_machine):
    """Code and parameters of what sending an IRP to the top of a stack ends in.

    `layers` from the bottom up; the sender is a driver of its own.
    """

    def run(layers, major=IRP_MJ_PNP, minor=0, prepare=None, level=0, verifier="io", **more):
        machine = ntsim_machine(verifier=verifier, **more)
        for number, layer in enumerate(layers):
            machine.load_driver(layer.entry(), name=f"layer{number}.sys")
        sent = []

        def DriverEntry(DriverObject, RegistryPath) -> int:
            top = layers[-1].device
            irp = IoAllocateIrp(top.StackSize, FALSE)
            stack = IoGetNextIrpStackLocation(irp)
            stack.MajorFunction, stack.MinorFunction = major, minor
            irp.IoStatus.Status = STATUS_NOT_SUPPORTED
            if prepare is not None:
                prepare(irp, stack)
            sent.append(int(irp))

            def back(DeviceObject, Irp, Context) -> int:
                return STATUS_MORE_PROCESSING_REQUIRED

            IoSetCompletionRoutine(irp, back, NULL, TRUE, TRUE, TRUE)
            IoCallDriver(top, irp)
            return STATUS_SUCCESS

        with pytest.raises(BugCheck) as caught:
            machine.load_driver(DriverEntry, name="sender.sys")
        report = machine.report()
        assert report.summary
        return (*seen(caught.value), sent[0], machine)

    return run


def check(found, kind: int, three: Any = None, four: int = 0) -> None:
    """Parameter 2 is in the driver, 3 the IRP unless said otherwise."""
    code, one, two, irp_or_other, last, irp, machine = found
    assert (code, one, irp_or_other, last) == (0xC9, kind, irp if three is None else three, four)
    assert machine.nt.describe_address(two).startswith("layer")


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (lambda Irp, below: IoCallDriver(below, Irp), 0x205),
        (lambda Irp, below: done(Irp), 0x209),
        (lambda Irp, below: IoSetCancelRoutine(Irp, lambda DeviceObject, Irp: None), 0x229),
    ],
)
def test_an_irp_that_a_driver_below_keeps(crash, again, kind) -> None:
    def sends_and_goes_on(DeviceObject, Irp, below) -> int:
        IoCopyCurrentIrpStackLocationToNext(Irp)
        IoCallDriver(below, Irp)
        again(Irp, below)
        return STATUS_PENDING

    bottom = Layer(keeps)
    found = crash([bottom, Layer(sends_and_goes_on, bottom)], major=IRP_MJ_READ)
    check(found, kind)


def test_an_irp_that_came_back_may_be_completed(ntsim_machine) -> None:
    """The driver below completes it later, in a work item; the one above then goes on."""
    bottom, order = Layer(None), []

    def later(DeviceObject, Irp, below) -> int:
        IoMarkIrpPending(Irp)
        item = IoAllocateWorkItem(DeviceObject)

        def work(DeviceObject, Context) -> None:
            order.append("below")
            done(Irp)
            IoFreeWorkItem(item)

        IoQueueWorkItem(item, work, DelayedWorkQueue, NULL)
        return STATUS_PENDING

    def waits(DeviceObject, Irp, below) -> int:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)

        def back(DeviceObject, Irp, Context) -> int:
            KeSetEvent(event, 0, FALSE)
            return STATUS_MORE_PROCESSING_REQUIRED

        IoCopyCurrentIrpStackLocationToNext(Irp)
        IoSetCompletionRoutine(Irp, back, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(below, Irp)
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)
        order.append("above")
        return done(Irp)

    bottom.handle = later
    top = Layer(waits, bottom)
    machine = ntsim_machine(verifier="io")
    for number, layer in enumerate((bottom, top)):
        machine.load_driver(layer.entry(), name=f"layer{number}.sys")

    def DriverEntry(DriverObject, RegistryPath) -> int:
        irp = IoAllocateIrp(top.device.StackSize, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        IoSetCompletionRoutine(
            irp, lambda *rest: STATUS_MORE_PROCESSING_REQUIRED, NULL, TRUE, TRUE, TRUE
        )
        IoCallDriver(top.device, irp)
        IoFreeIrp(irp)
        return STATUS_SUCCESS

    machine.load_driver(DriverEntry, name="sender.sys")
    assert order == ["below", "above"]


def test_an_irp_forwarded_past_a_device(crash) -> None:
    bottom = Layer(succeeds)
    middle = Layer(pass_down, bottom)

    def skips_one(DeviceObject, Irp, below) -> int:
        IoSkipCurrentIrpStackLocation(Irp)
        return IoCallDriver(bottom.device, Irp)

    found = crash([bottom, middle, Layer(skips_one, middle)], minor=IRP_MN_QUERY_CAPABILITIES,
                  prepare=capabilities)  # fmt: skip
    check(found, 0x211)


def capabilities(irp, stack) -> None:
    asked = DEVICE_CAPABILITIES()
    asked.Size, asked.Version = sizeof(DEVICE_CAPABILITIES), 1
    asked.Address = asked.UINumber = 0xFFFFFFFF
    stack.Parameters.DeviceCapabilities.Capabilities = asked


def changes(name, value):
    def handle(DeviceObject, Irp, below) -> int:
        setattr(Irp.IoStatus, name, value)
        return pass_down(DeviceObject, Irp, below)

    return handle


@pytest.mark.parametrize(
    ("handle", "kind"),
    [(changes("Status", STATUS_SUCCESS), 0x213), (changes("Information", 5), 0x214)],
)
def test_an_unknown_irp_that_is_changed(crash, handle, kind) -> None:
    bottom = Layer(succeeds)
    check(crash([bottom, Layer(handle, bottom)], minor=UNKNOWN_PNP), kind)


@pytest.mark.parametrize(
    ("major", "minor", "kind"),
    [(IRP_MJ_PNP, UNKNOWN_PNP, 0x22D), (IRP_MJ_POWER, UNKNOWN_POWER, 0x230)],
)
@pytest.mark.parametrize("status", [STATUS_SUCCESS, STATUS_NOT_SUPPORTED])
def test_an_unknown_irp_that_is_completed(crash, major, minor, kind, status) -> None:
    bottom = Layer(succeeds)
    top = Layer(lambda DeviceObject, Irp, below: done(Irp, status), bottom)
    check(crash([bottom, top], major=major, minor=minor), kind)


def test_a_driver_in_the_stack_without_a_routine(crash) -> None:
    bottom = Layer(succeeds)
    top = Layer(pass_down, bottom, majors=(IRP_MJ_PNP,))
    found = crash([bottom, top], major=IRP_MJ_SYSTEM_CONTROL, minor=IRP_MN_REGINFO)
    check(found, 0x21F)


def test_a_wmi_irp_completed_by_another_than_its_provider(crash) -> None:
    bottom = Layer(succeeds)

    def prepare(irp, stack) -> None:
        stack.Parameters.WMI.ProviderId = int(bottom.device)

    top = Layer(lambda DeviceObject, Irp, below: done(Irp, STATUS_UNSUCCESSFUL), bottom)
    found = crash([bottom, top], IRP_MJ_SYSTEM_CONTROL, IRP_MN_REGINFO, prepare)
    check(found, 0x220, four=int(bottom.device))


@pytest.mark.parametrize(("kind_of", "kind"), [(TargetDeviceRelation, 0x24B)])
def test_target_relations_answered_with_nothing_by_a_filter(crash, kind_of, kind) -> None:
    bottom = Layer(succeeds)

    def prepare(irp, stack) -> None:
        stack.Parameters.QueryDeviceRelations.Type = kind_of

    top = Layer(lambda DeviceObject, Irp, below: done(Irp), bottom)
    found = crash([bottom, top], minor=IRP_MN_QUERY_DEVICE_RELATIONS, prepare=prepare)
    check(found, kind, three=int(top.device))


def test_target_relations_answered_with_nothing_by_the_bus(crash) -> None:
    def prepare(irp, stack) -> None:
        stack.Parameters.QueryDeviceRelations.Type = TargetDeviceRelation

    found = crash([Layer(succeeds)], minor=IRP_MN_QUERY_DEVICE_RELATIONS, prepare=prepare)
    check(found, 0x22B)


def test_bus_relations_that_name_no_pdo(crash) -> None:
    bottom = Layer(pass_down)
    filter_of_other = Layer(pass_down, bottom)

    def answers(DeviceObject, Irp, below) -> int:
        block = ExAllocatePoolWithTag(PagedPool, sizeof(DEVICE_RELATIONS), 0x6C6552)
        relations = cast(block, PDEVICE_RELATIONS)
        relations.Count = 1
        relations.Objects[0] = filter_of_other.device
        return done(Irp, STATUS_SUCCESS, int(relations))

    def prepare(irp, stack) -> None:
        stack.Parameters.QueryDeviceRelations.Type = BusRelations

    found = crash([bottom, filter_of_other, Layer(answers)], IRP_MJ_PNP,
                  IRP_MN_QUERY_DEVICE_RELATIONS, prepare)  # fmt: skip
    check(found, 0x248, four=int(filter_of_other.device))


def test_a_routine_that_needs_a_pdo(bugcheck_of) -> None:
    where = []

    def body() -> None:
        where.append(int(KEVENT()))
        IoInvalidateDeviceRelations(where[0], BusRelations)

    found = bugcheck_of(body, verifier="io")
    assert (found.code, found.parameters[0], *found.parameters[2:]) == (0xC9, 0x24D, 0, where[0])
    assert found.parameters[1]


def test_an_irp_of_the_thread_sent_at_apc_level(bugcheck_of) -> None:
    where = []

    def body(DriverObject) -> None:
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        event, block = KEVENT(), IO_STATUS_BLOCK()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        irp = IoBuildDeviceIoControlRequest(
            0x222000, device, NULL, 0, NULL, 0, FALSE, event, block
        )
        where.append(int(irp))
        KeRaiseIrql(APC_LEVEL)
        IoCallDriver(device, irp)

    found = bugcheck_of(body, verifier="io")
    assert (found.code, found.parameters[0], *found.parameters[2:]) == (0xC9, 0x302, where[0], 1)
    assert found.parameters[1]


# Memory


def test_mapping_memory_that_is_free(bugcheck_of) -> None:
    where = []

    def body() -> None:
        block = MmAllocateContiguousMemory(0x1000, 0xFFFFFFFF)
        where.append(int(MmGetPhysicalAddress(block)))
        MmFreeContiguousMemory(block)
        MmMapIoSpace(where[0], 0x800, MmNonCached)

    found = bugcheck_of(body, verifier="misc")
    assert seen(found) == (0xC4, 0x83, where[0], 0x800, where[0] >> 12)


def test_mapping_an_mdl_whose_pages_were_freed(bugcheck_of) -> None:
    where = []

    def body() -> None:
        block = MmAllocateContiguousMemory(0x2000, 0xFFFFFFFF)
        mdl = IoAllocateMdl(block, 0x2000, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        where.extend((int(mdl), int(MmGetPhysicalAddress(block)) >> 12))
        MmUnlockPages(mdl)
        MmFreeContiguousMemory(block)
        mdl.MdlFlags |= MDL_PAGES_LOCKED  # a copy of an MDL would still say so
        MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)

    found = bugcheck_of(body, verifier="misc")
    assert seen(found) == (0xC4, 0x85, where[0], 2, where[1])


def test_quota_charged_in_a_dpc(bugcheck_of) -> None:
    def body() -> None:
        dpc = KDPC()

        def routine(Dpc, Context, One, Two) -> None:
            ExAllocatePoolWithQuotaTag(NonPagedPoolNx, 16, 0x31323334)

        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    assert seen(bugcheck_of(body, verifier="misc")) == (0xC4, 0x10B, 0, 0, 0)


@pytest.mark.parametrize("option", ["invariant-mdl-stack", "invariant-mdl-driver"])
@pytest.mark.parametrize("changed", [True, False])
def test_the_buffer_of_a_write_stays_as_it_is(ntsim_machine, option, changed) -> None:
    bottom, where = Layer(None, majors=(IRP_MJ_WRITE,)), []

    def writes(DeviceObject, Irp, below) -> int:
        return done(Irp, STATUS_SUCCESS, 16)

    def encrypts(DeviceObject, Irp, below) -> int:
        buffer = MmGetSystemAddressForMdlSafe(Irp.MdlAddress, NormalPagePriority)
        where.extend((int(Irp), buffer))
        if changed:
            write_bytes(buffer + 3, b"!")
        return pass_down(DeviceObject, Irp, below)

    bottom.handle = writes
    top = Layer(encrypts, bottom, majors=(IRP_MJ_WRITE,))
    machine = ntsim_machine(verifier=option)
    for number, layer in enumerate((bottom, top)):
        machine.load_driver(layer.entry(), name=f"layer{number}.sys")

    def DriverEntry(DriverObject, RegistryPath) -> int:
        buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 0x31323334)
        write_bytes(buffer, bytes(16))
        irp = IoAllocateIrp(top.device.StackSize, FALSE)
        irp.MdlAddress = IoAllocateMdl(buffer, 16, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(irp.MdlAddress)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_WRITE
        IoSetCompletionRoutine(
            irp, lambda *rest: STATUS_MORE_PROCESSING_REQUIRED, NULL, TRUE, TRUE, TRUE
        )
        IoCallDriver(top.device, irp)
        return STATUS_SUCCESS

    if not changed:
        machine.load_driver(DriverEntry, name="sender.sys")
        return
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="sender.sys")
    noticed_by = bottom if option == "invariant-mdl-stack" else top
    assert seen(caught.value) == (0xC4, 0x1010, int(noticed_by.device), *where)
