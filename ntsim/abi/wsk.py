"""Winsock Kernel: client, registration and provider (wsk.h, x64)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, at


class WSK_CLIENT_DISPATCH(Structure, size=0x10):
    Version: USHORT = at(0x00)
    Reserved: USHORT = at(0x02)
    WskClientEvent: PVOID = at(0x08)


class WSK_CLIENT_NPI(Structure, size=0x10):
    ClientContext: PVOID = at(0x00)
    Dispatch: PWSK_CLIENT_DISPATCH = at(0x08)


class WSK_REGISTRATION(Structure, size=0x18):
    ReservedRegistrationState: ULONGLONG = at(0x00)
    ReservedRegistrationContext: PVOID = at(0x08)
    ReservedRegistrationLock: ULONGLONG = at(0x10)


class WSK_PROVIDER_NPI(Structure, size=0x10):
    Client: PVOID = at(0x00)
    Dispatch: PVOID = at(0x08)


class WSK_PROVIDER_CHARACTERISTICS(Structure, size=0x4):
    HighestVersion: USHORT = at(0x00)
    LowestVersion: USHORT = at(0x02)


if TYPE_CHECKING:
    PWSK_CLIENT_DISPATCH = WSK_CLIENT_DISPATCH
    PWSK_CLIENT_NPI = WSK_CLIENT_NPI
    PWSK_REGISTRATION = WSK_REGISTRATION
    PWSK_PROVIDER_NPI = WSK_PROVIDER_NPI
    PWSK_PROVIDER_CHARACTERISTICS = WSK_PROVIDER_CHARACTERISTICS
