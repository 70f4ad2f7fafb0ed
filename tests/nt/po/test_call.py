"""PoCallDriver, PoStartNextPowerIrp. Source: WDK "Passing Power IRPs"."""

from ntsim.wdm import *


def test_a_power_irp_is_passed_like_any_other(value_of) -> None:
    def body(DriverObject) -> list:
        seen = []

        def power(DeviceObject, Irp) -> int:
            seen.append(IoGetCurrentIrpStackLocation(Irp).MajorFunction)
            PoStartNextPowerIrp(Irp)
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        def completed(DeviceObject, Irp, Context) -> int:
            return STATUS_MORE_PROCESSING_REQUIRED

        DriverObject.MajorFunction[IRP_MJ_POWER] = power
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        irp = IoAllocateIrp(1, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_POWER
        IoSetCompletionRoutine(irp, completed, NULL, TRUE, TRUE, TRUE)
        status = PoCallDriver(device, irp)
        IoFreeIrp(irp)
        return [status, seen]

    assert value_of(body) == [0, [IRP_MJ_POWER]]
