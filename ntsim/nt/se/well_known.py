"""SIDs and privileges that every Windows has, by their names.

Source: Win32 "Well-known SIDs", "SID Strings", "Privilege Constants"; ntifs.h for the values.
"""

from __future__ import annotations

from ntsim.nt.rtl.sid import Sid


def sid(text: str) -> Sid | None:
    """The SID that `S-1-authority-...` writes; None if it is none."""
    parts = text.upper().split("-")
    if len(parts) < 3 or parts[:2] != ["S", "1"] or len(parts) > 18:
        return None
    try:
        authority, *rest = (int(part, 0 if part.startswith("0X") else 10) for part in parts[2:])
    except ValueError:
        return None
    if not 0 <= authority < 1 << 48 or any(not 0 <= value < 1 << 32 for value in rest):
        return None
    return Sid(authority, tuple(rest))


def known(text: str) -> Sid:
    """The SID of a text that is one."""
    found = sid(text)
    assert found is not None, text
    return found


MACHINE = "S-1-5-21-1004336348-1177238915-682003330"
"""The account domain of the simulated machine: any machine's is three random numbers."""

USER = known(f"{MACHINE}-1001")
"""Who runs the apps: the first account of a Windows set-up, an administrator."""

LOGON_ID = known("S-1-5-5-0-999999")
"""The interactive logon session's own SID."""

WORLD, LOCAL, CONSOLE_LOGON = known("S-1-1-0"), known("S-1-2-0"), known("S-1-2-1")
SYSTEM, ADMINISTRATORS, USERS = known("S-1-5-18"), known("S-1-5-32-544"), known("S-1-5-32-545")
AUTHENTICATED_USERS, INTERACTIVE = known("S-1-5-11"), known("S-1-5-4")
THIS_ORGANIZATION, LOCAL_ACCOUNT = known("S-1-5-15"), known("S-1-5-113")
LOCAL_ADMINISTRATOR, NTLM = known("S-1-5-114"), known("S-1-5-64-10")
RESTRICTED, OWNER_RIGHTS, CREATOR_OWNER = known("S-1-5-12"), known("S-1-3-4"), known("S-1-3-0")
CREATOR_GROUP = known("S-1-3-1")
NO_GROUP = known(f"{MACHINE}-513")
"""The machine's group "None", primary group of its accounts."""

LOW, MEDIUM, HIGH, SYSTEM_LEVEL = 0x1000, 0x2000, 0x3000, 0x4000
"""Integrity levels: the last sub-authority of S-1-16-level."""


def integrity(level: int) -> Sid:
    return Sid(16, (level,))


ALIASES = {
    "AN": "S-1-5-7", "AO": "S-1-5-32-548", "AU": "S-1-5-11", "BA": "S-1-5-32-544",
    "BG": "S-1-5-32-546", "BO": "S-1-5-32-551", "BU": "S-1-5-32-545", "CG": "S-1-3-1",
    "CO": "S-1-3-0", "ED": "S-1-5-9", "HI": "S-1-16-12288", "IU": "S-1-5-4",
    "LA": f"{MACHINE}-500", "LG": f"{MACHINE}-501", "LS": "S-1-5-19", "LW": "S-1-16-4096",
    "ME": "S-1-16-8192", "MU": "S-1-5-32-558", "NO": "S-1-5-32-556", "NS": "S-1-5-20",
    "NU": "S-1-5-2", "OW": "S-1-3-4", "PO": "S-1-5-32-550", "PS": "S-1-5-10",
    "PU": "S-1-5-32-547", "RC": "S-1-5-12", "RD": "S-1-5-32-555", "RE": "S-1-5-32-552",
    "SI": "S-1-16-16384", "SO": "S-1-5-32-549", "SU": "S-1-5-6", "SY": "S-1-5-18",
    "UD": "S-1-5-84-0-0-0-0-0", "WD": "S-1-1-0", "AC": "S-1-15-2-1",
}  # fmt: skip
"""SDDL's two letters."""

EXPORTED = {
    "Null": "S-1-0-0", "World": "S-1-1-0", "Local": "S-1-2-0", "CreatorOwner": "S-1-3-0",
    "CreatorGroup": "S-1-3-1", "NtAuthority": "S-1-5", "Dialup": "S-1-5-1", "Network": "S-1-5-2",
    "Batch": "S-1-5-3", "Interactive": "S-1-5-4", "LocalSystem": "S-1-5-18",
    "AliasAdmins": "S-1-5-32-544", "AliasUsers": "S-1-5-32-545", "AliasGuests": "S-1-5-32-546",
    "AliasPowerUsers": "S-1-5-32-547", "AliasAccountOps": "S-1-5-32-548",
    "AliasSystemOps": "S-1-5-32-549", "AliasPrintOps": "S-1-5-32-550",
    "AliasBackupOps": "S-1-5-32-551", "AuthenticatedUsers": "S-1-5-11", "Restricted": "S-1-5-12",
    "AnonymousLogon": "S-1-5-7", "LocalService": "S-1-5-19", "NetworkService": "S-1-5-20",
    "IUser": "S-1-5-17", "UntrustedMandatory": "S-1-16-0", "LowMandatory": "S-1-16-4096",
    "MediumMandatory": "S-1-16-8192", "HighMandatory": "S-1-16-12288",
    "SystemMandatory": "S-1-16-16384", "OwnerRights": "S-1-3-4", "AllAppPackages": "S-1-15-2-1",
    "UserModeDrivers": "S-1-5-84-0-0-0-0-0", "ProcTrustWinTcb": "S-1-19-1024-8192",
    "TrustedInstaller": "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
}  # fmt: skip
"""What SeExports names Se<name>Sid."""

PRIVILEGES = (
    "CreateToken AssignPrimaryToken LockMemory IncreaseQuota UnsolicitedInput Tcb Security "
    "TakeOwnership LoadDriver SystemProfile Systemtime ProfileSingleProcess IncreaseBasePriority "
    "CreatePagefile CreatePermanent Backup Restore Shutdown Debug Audit SystemEnvironment "
    "ChangeNotify RemoteShutdown Undock SyncAgent EnableDelegation ManageVolume Impersonate "
    "CreateGlobal TrustedCredManAccess Relabel IncreaseWorkingSet TimeZone CreateSymbolicLink "
    "DelegateSessionUserImpersonate"
).split()
"""Se<name>Privilege, from the first, which has the value 2; UnsolicitedInput has 6."""

LUIDS = {name: value for value, name in enumerate(PRIVILEGES, 2)}


def luids(names: str) -> int:
    """The bit mask, as tokens have it, of the named privileges."""
    return sum(1 << LUIDS[name] for name in names.split())


SECURITY, TAKE_OWNERSHIP, RESTORE = LUIDS["Security"], LUIDS["TakeOwnership"], LUIDS["Restore"]
BACKUP, DEBUG, LOAD_DRIVER = LUIDS["Backup"], LUIDS["Debug"], LUIDS["LoadDriver"]
RELABEL, IMPERSONATE, TCB = LUIDS["Relabel"], LUIDS["Impersonate"], LUIDS["Tcb"]

ALWAYS = luids("ChangeNotify Shutdown Undock IncreaseWorkingSet TimeZone")
"""What a standard user's token has."""

SYSTEM_ENABLED = luids(
    "LockMemory Tcb SystemProfile ProfileSingleProcess IncreaseBasePriority CreatePagefile "
    "CreatePermanent Debug Audit ChangeNotify Impersonate CreateGlobal IncreaseWorkingSet TimeZone "
    "CreateSymbolicLink DelegateSessionUserImpersonate"
)
SYSTEM_DISABLED = luids(
    "CreateToken AssignPrimaryToken IncreaseQuota Security TakeOwnership LoadDriver Systemtime "
    "Backup Restore Shutdown SystemEnvironment Undock ManageVolume TrustedCredManAccess Relabel"
)
ADMINISTRATOR_ENABLED = luids("ChangeNotify Impersonate CreateGlobal")
ADMINISTRATOR_DISABLED = luids(
    "IncreaseQuota Security TakeOwnership LoadDriver SystemProfile Systemtime ProfileSingleProcess "
    "IncreaseBasePriority CreatePagefile Backup Restore Shutdown Debug SystemEnvironment "
    "RemoteShutdown Undock ManageVolume IncreaseWorkingSet TimeZone CreateSymbolicLink "
    "DelegateSessionUserImpersonate"
)
