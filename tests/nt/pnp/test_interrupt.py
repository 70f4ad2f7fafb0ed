"""Interrupts, ports and registers of a plugged-in device.

Source: WDK IoConnectInterrupt, IoConnectInterruptEx, KeSynchronizeExecution, MmMapIoSpace; bug
checks 0xCA/9 and 0xF2.
"""

import pytest

from ntsim.errors import BugCheck, ConfigurationError
from ntsim.wdm import *

from .conftest import Function

CMCI_TO_CLOCK = range(6, 12)


class Interrupting(Function):
    """Connects its interrupt in START_DEVICE; the service routine queues the device's DPC."""

    def __init__(self, claims: bool = True) -> None:
        super().__init__({IRP_MN_START_DEVICE: self.start})
        self.claims, self.log, self.interrupt, self.status = claims, [], None, None

    def start(self, DeviceObject, Irp) -> None:
        stack = IoGetCurrentIrpStackLocation(Irp)
        found = cast(stack.Parameters.StartDevice.AllocatedResourcesTranslated, CM_RESOURCE_LIST)
        first = found.List[0].PartialResourceList.PartialDescriptors[0]
        u = first.u.Interrupt
        self.place = (u.Vector, u.Level, u.Affinity)
        IoInitializeDpcRequest(DeviceObject, self.dpc)
        self.status, self.interrupt = IoConnectInterrupt(
            self.service, DeviceObject, NULL, u.Vector, u.Level, u.Level, LevelSensitive, TRUE,
            u.Affinity, FALSE,
        )  # fmt: skip

    def service(self, Interrupt, ServiceContext) -> bool:
        self.log.append(("service", KeGetCurrentIrql()))
        if self.claims:
            IoRequestDpc(cast(ServiceContext, PDEVICE_OBJECT), NULL, NULL)
        return self.claims

    def dpc(self, Dpc, DeviceObject, Irp, Context) -> None:
        def synchronized(context) -> bool:
            self.log.append(("synchronized", KeGetCurrentIrql()))
            return True

        result = KeSynchronizeExecution(self.interrupt, synchronized, NULL)
        self.log.append(("dpc", KeGetCurrentIrql(), result))


def test_service_routine_dpc_and_synchronized_routine_run_at_their_levels(plug) -> None:
    function = Interrupting()
    made = plug(function, interrupts=(3,))
    vector, level, _ = function.place
    assert (function.status, level) == (STATUS_SUCCESS, vector >> 4)
    assert level in CMCI_TO_CLOCK
    made.device.interrupt()
    made.machine.run_until_idle()
    assert function.log == [("service", level), ("synchronized", level), ("dpc", 2, True)]


def test_a_line_raised_before_connecting_waits(plug) -> None:
    function = Interrupting()
    connect, function.hooks[IRP_MN_START_DEVICE] = function.start, lambda device, irp: None
    made = plug(function, interrupts=(3,))
    made.device.interrupt()
    made.machine.run_until_idle()
    assert function.log == []
    made.device.stop()
    function.hooks[IRP_MN_START_DEVICE] = connect
    made.device.start()
    made.machine.run_until_idle()
    assert [each[0] for each in function.log] == ["service", "synchronized", "dpc"]


def test_a_level_that_nobody_claims_is_an_interrupt_storm(plug) -> None:
    function = Interrupting(claims=False)
    made = plug(function, interrupts=(3,))
    made.device.interrupt()
    with pytest.raises(BugCheck) as caught:
        made.machine.run_until_idle()
    assert caught.value.code == 0xF2
    assert caught.value.parameters[1:] == (int(function.fdo), int(function.interrupt), 1)


def test_line_based_connection_finds_the_line_itself(plug) -> None:
    log = []

    def start(DeviceObject, Irp) -> None:
        got = ExAllocatePoolWithTag(NonPagedPool, 8, 0x74736554)
        p = IO_CONNECT_INTERRUPT_PARAMETERS()
        p.Version = CONNECT_LINE_BASED
        line = p.LineBased
        line.PhysicalDeviceObject, line.InterruptObject = function.pdo, got
        line.ServiceRoutine = lambda interrupt, context: log.append(KeGetCurrentIrql()) or True
        log.append(IoConnectInterruptEx(p))

    function = Function({IRP_MN_START_DEVICE: start})
    made = plug(function, interrupts=(9,))
    made.device.interrupt()
    made.machine.run_until_idle()
    assert log == [STATUS_SUCCESS, 9]


def test_disconnecting_with_a_version_that_is_none_is_0xca_9(plug) -> None:
    def start(DeviceObject, Irp) -> None:
        p = IO_DISCONNECT_INTERRUPT_PARAMETERS()
        p.Version = 0x55
        IoDisconnectInterruptEx(p)

    with pytest.raises(BugCheck) as caught:
        plug(Function({IRP_MN_START_DEVICE: start}))
    assert (caught.value.code, caught.value.parameters[:2]) == (0xCA, (9, 0x55))


class Model:
    """A device with one port that counts up and registers that answer with their offset."""

    def __init__(self) -> None:
        self.count, self.written = 0, []

    def port_in(self, port: int, size: int) -> int:
        self.count += 1
        return self.count

    def register_in(self, offset: int, size: int) -> int:
        return 0x1000 + offset

    def register_out(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))


def test_ports_and_registers_reach_the_devices_model(plug) -> None:
    got, model = [], Model()

    def start(DeviceObject, Irp) -> None:
        stack = IoGetCurrentIrpStackLocation(Irp)
        found = cast(stack.Parameters.StartDevice.AllocatedResourcesTranslated, CM_RESOURCE_LIST)
        port, memory = (
            found.List[0].PartialResourceList.PartialDescriptors[n] for n in range(2)
        )
        got.append(READ_PORT_UCHAR(port.u.Port.Start.QuadPart))
        registers = MmMapIoSpace(memory.u.Memory.Start, memory.u.Memory.Length, MmNonCached)
        got.append(READ_REGISTER_ULONG(registers + 8))
        WRITE_REGISTER_USHORT(registers + 0x10, 0xABCD)
        MmUnmapIoSpace(registers, memory.u.Memory.Length)

    plug(Function({IRP_MN_START_DEVICE: start}), ports=[(0x500, 4)], memory=(0x100,), model=model)
    assert got == [1, 0x1008]
    assert model.written == [(0x10, 2, 0xABCD)]


def test_wrong_properties_are_the_callers_mistake(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(ConfigurationError, match=r"plug\(irq=...\)"):
        machine.plug("ROOT\\THING", irq=3)
    with pytest.raises(ConfigurationError, match="hardware ID"):
        machine.plug("ROOT\\A,B")
    with pytest.raises(ConfigurationError, match="already owned"):
        machine.plug("ROOT\\THING", ports=[(0x3F8, 1)])
    with pytest.raises(ConfigurationError, match="no interrupt line 0"):
        machine.plug("ROOT\\OTHER").interrupt()
