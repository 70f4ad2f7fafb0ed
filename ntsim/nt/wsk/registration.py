"""Registering a WSK client, and waiting for a provider that this machine has not got.

Source: WDK WskRegister, WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI,
WskQueryProviderCharacteristics, "Registering a Winsock Kernel Application". STATUS_NOINTERFACE, the
answer of a provider to a version it has not got, cannot come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import NTSTATUS, ULONG
from ntsim.nt.ex.arguments import Interval
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.wsk import (
        PWSK_CLIENT_NPI,
        PWSK_PROVIDER_CHARACTERISTICS,
        PWSK_PROVIDER_NPI,
        PWSK_REGISTRATION,
    )
    from ntsim.nt.kernel import Kernel

NO_WAIT, INFINITE_WAIT = 0, 0xFFFF_FFFF
NOTIFICATION, EXECUTIVE = 0, 0
REGISTERED, DEREGISTERED = 1, 2
_WAITING = KEVENT.size
"""In a registration's context behind the event: how many threads wait, and whether it has ended."""
_ENDED, _SIZE = _WAITING + 8, _WAITING + 16


def context_of(nt: Kernel, registration: Any) -> int:
    """The context of a registration that is in force, 0 for other memory."""
    v = registration._v
    return int(v.ReservedRegistrationContext) if v.ReservedRegistrationState == REGISTERED else 0


@export(irql="== PASSIVE")
def WskRegister(
    nt: Kernel, WskClientNpi: PWSK_CLIENT_NPI, WskRegistration: PWSK_REGISTRATION
) -> NTSTATUS:
    """Register a client; STATUS_INVALID_PARAMETER without a dispatch table."""
    if not WskClientNpi._v.Dispatch:
        return ntstatus.STATUS_INVALID_PARAMETER
    block = nt.allocate_pool(_SIZE, "Nmrr")
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(block, bytes(_SIZE))
    KeInitializeEvent(nt, KEVENT.at(nt.mmu, block), NOTIFICATION, False)
    v = WskRegistration._v
    v.ReservedRegistrationState, v.ReservedRegistrationContext = REGISTERED, block
    v.ReservedRegistrationLock = 0
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def WskDeregister(nt: Kernel, WskRegistration: PWSK_REGISTRATION) -> None:
    """End a registration; threads that still wait for a provider go on without one."""
    block = context_of(nt, WskRegistration)
    if not block:
        return
    WskRegistration._v.ReservedRegistrationState = DEREGISTERED
    if nt.mmu.read_word(block + _WAITING):
        nt.mmu.write_word(block + _ENDED, 1)
        KeSetEvent(nt, KEVENT.at(nt.mmu, block), 0, False)
    else:
        nt.free_pool(block)


@export(irql="== PASSIVE, or <= DISPATCH with WSK_NO_WAIT")
def WskCaptureProviderNPI(
    nt: Kernel,
    WskRegistration: PWSK_REGISTRATION,
    WaitTimeout: ULONG,
    WskProviderNpi: PWSK_PROVIDER_NPI,
) -> NTSTATUS:
    """Wait for a provider: STATUS_DEVICE_NOT_READY after WaitTimeout milliseconds, for there is
    none; WSK_INFINITE_WAIT lasts until another thread deregisters the client.
    """
    block = context_of(nt, WskRegistration)
    if not block or WaitTimeout == NO_WAIT:
        return ntstatus.STATUS_DEVICE_NOT_READY
    timeout = None if WaitTimeout == INFINITE_WAIT else Interval(-10_000 * WaitTimeout)
    mmu = nt.mmu
    mmu.write_word(block + _WAITING, mmu.read_word(block + _WAITING) + 1)
    ki_wait(nt, [block], WAIT_ANY, EXECUTIVE, 0, False, timeout)
    left = mmu.read_word(block + _WAITING) - 1
    mmu.write_word(block + _WAITING, left)
    if not left and mmu.read_word(block + _ENDED):
        nt.free_pool(block)
    return ntstatus.STATUS_DEVICE_NOT_READY


@export(irql="<= DISPATCH")
def WskReleaseProviderNPI(nt: Kernel, WskRegistration: PWSK_REGISTRATION) -> None:
    """Give a captured provider back: nothing, for none was captured."""


@export(irql="<= DISPATCH")
def WskQueryProviderCharacteristics(
    nt: Kernel,
    WskRegistration: PWSK_REGISTRATION,
    WskProviderCharacteristics: PWSK_PROVIDER_CHARACTERISTICS,
) -> NTSTATUS:
    """The versions a provider has: STATUS_DEVICE_NOT_READY without one."""
    return ntstatus.STATUS_DEVICE_NOT_READY
