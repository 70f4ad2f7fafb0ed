"""The DPC that every device object contains, for its interrupt service routine.

Source: WDK IoInitializeDpcRequest, IoRequestDpc; wdm.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PIO_DPC_ROUTINE, PVOID
from ntsim.nt.exports import export
from ntsim.nt.ke.dpc import KeInitializeDpc, KeInsertQueueDpc

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP
    from ntsim.nt.kernel import Kernel


@export(irql="any", inline=True)
def IoInitializeDpcRequest(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, DpcRoutine: PIO_DPC_ROUTINE
) -> None:
    """Prepare DeviceObject->Dpc; its routine gets the device as context. Source: wdm.h."""
    KeInitializeDpc(nt, DeviceObject.Dpc, DpcRoutine, int(DeviceObject))


@export(irql="== DIRQL", inline=True)
def IoRequestDpc(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Irp: PIRP, Context: PVOID) -> None:
    """Queue the device's DPC with an IRP and a context; nothing if it is queued. Source: wdm.h."""
    KeInsertQueueDpc(nt, DeviceObject.Dpc, int(Irp), Context)
