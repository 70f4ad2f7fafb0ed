"""Passing power IRPs on. Since Windows Vista they need no routines of their own.

Source: WDK PoCallDriver, PoStartNextPowerIrp, "Passing Power IRPs".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import NTSTATUS
from ntsim.nt.exports import export
from ntsim.nt.io.call import IofCallDriver

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP
    from ntsim.nt.kernel import Kernel


@export(irql="<= DISPATCH")
def PoCallDriver(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """IoCallDriver. Source: WDK PoCallDriver."""
    return IofCallDriver(nt, DeviceObject, Irp)


@export(irql="<= DISPATCH")
def PoStartNextPowerIrp(nt: Kernel, Irp: PIRP) -> None:
    """Nothing: the power manager waits for nobody to say so. Source: WDK PoStartNextPowerIrp."""
