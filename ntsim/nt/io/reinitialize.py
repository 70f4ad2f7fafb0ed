"""Reinitialization: routines that run after DriverEntry, once for each registration.

At boot they wait until other drivers have started; a driver that is loaded later, as all are here,
has its routine called as soon as its DriverEntry has succeeded. Source: WDK
IoRegisterDriverReinitialization, IoRegisterBootDriverReinitialization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import PVOID
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.io import PDRIVER_OBJECT
    from ntsim.nt.kernel import Kernel


@export(irql="== PASSIVE")
def IoRegisterDriverReinitialization(
    nt: Kernel,
    DriverObject: PDRIVER_OBJECT,
    DriverReinitializationRoutine: PVOID,
    Context: PVOID,
) -> None:
    """Call the routine as (DriverObject, Context, Count), Count from 1 on. Source: WDK."""
    DriverObject._v.Flags |= c.DRVO_REINIT_REGISTERED
    nt.io.reinitialize.append((int(DriverObject), DriverReinitializationRoutine, Context))


@export(irql="== PASSIVE")
def IoRegisterBootDriverReinitialization(
    nt: Kernel,
    DriverObject: PDRIVER_OBJECT,
    DriverReinitializationRoutine: PVOID,
    Context: PVOID,
) -> None:
    """The same for boot drivers. Source: WDK IoRegisterBootDriverReinitialization."""
    DriverObject._v.Flags |= c.DRVO_BOOTREINIT_REGISTERED
    nt.io.reinitialize.append((int(DriverObject), DriverReinitializationRoutine, Context))
