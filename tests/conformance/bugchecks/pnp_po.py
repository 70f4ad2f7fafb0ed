"""Devices on a bus, and their power."""

from ntsim.wdm import *
from tests.nt.pnp.conftest import Function

from .case import ANY, Matching, kernel_address, mistake
from .short import *


def plug(bench, function, **properties):
    """A device of the function driver."""

    def DriverEntry(DriverObject, RegistryPath) -> int:
        return function.entry(DriverObject, RegistryPath)

    driver = bench.machine.load_driver(DriverEntry, name="drv.sys")
    return bench.machine.plug("ROOT\\THING", driver, **properties)


@mistake(0x9F)
def a_power_request_that_nobody_completes(bench) -> None:
    """A driver pends a set-power IRP and forgets it: after ten minutes the system stops."""

    def power(DeviceObject, Irp) -> int:
        bench.expect(3, function.pdo, kernel_address, int(Irp))
        IoMarkIrpPending(Irp)
        return STATUS_PENDING

    function = Function(power=power)
    plug(bench, function).power("D3")


@mistake(0xA0)
def a_power_setting_callback_that_raises_the_level(bench) -> None:
    """A callback registered for a power setting returns at DISPATCH_LEVEL."""
    guid = (0x5D3E9A59, 0xE9D5, 0x4B00, 0xA6, 0xBD, 0xFF, 0x34, 0xFF, 0x51, 0x65, 0x48)
    bench.expect(0x900, kernel_address, PASSIVE_LEVEL, DISPATCH_LEVEL)
    bench.run(
        lambda: PoRegisterPowerSettingCallback(
            NULL, DEFINE_GUID(*guid), lambda *_: KeRaiseIrqlToDpcLevel(), NULL, NULL
        )
    )


@mistake(0xCA)
def a_bus_that_reports_a_null_child(bench) -> None:
    """A bus driver answers a query for its children with an array that holds NULL."""

    def relations(DeviceObject, Irp) -> int | None:
        if IoGetCurrentIrpStackLocation(Irp).Parameters.QueryDeviceRelations.Type != BusRelations:
            return None
        found = block(DEVICE_RELATIONS.size, DEVICE_RELATIONS)
        found.Count = 1
        found.Objects[0] = NULL
        Irp.IoStatus.Information = int(found)
        return STATUS_SUCCESS

    function = Function({IRP_MN_QUERY_DEVICE_RELATIONS: relations})
    bus = Matching("the bus's device", lambda at: at == function.pdo)
    bench.expect(8, bus, 1, 0)
    plug(bench, function)


@mistake(0xF2)
def a_level_interrupt_that_nobody_claims(bench) -> None:
    """The service routine of a level-triggered interrupt says that it was not its device."""
    connected = []

    def start(DeviceObject, Irp) -> None:
        stack = IoGetCurrentIrpStackLocation(Irp)
        found = cast(stack.Parameters.StartDevice.AllocatedResourcesTranslated, CM_RESOURCE_LIST)
        u = found.List[0].PartialResourceList.PartialDescriptors[0].u.Interrupt
        _, interrupt = IoConnectInterrupt(
            lambda interrupt, context: FALSE, DeviceObject, NULL, u.Vector, u.Level, u.Level,
            LevelSensitive, TRUE, u.Affinity, FALSE,
        )  # fmt: skip
        connected.append(int(interrupt))

    function = Function({IRP_MN_START_DEVICE: start})
    made = plug(bench, function, interrupts=(3,))
    made.interrupt()
    bench.expect(ANY, int(function.fdo), connected[0], 1)
    bench.machine.run_until_idle()
