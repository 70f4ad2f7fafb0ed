"""Making and removing hooks, at PASSIVE_LEVEL: a page of the app, whose accesses are reported.

A hook is of a physical page, an app has linear addresses. MmProbeAndLockPages holds the two
together: without it the memory manager may give the page to somebody else, who would then be
watched. What is locked must be unlocked before the process ends (else bug check 0x76), which
IRP_MJ_CLEANUP sees to, for a killed app too.
"""

from driver.hypervisor.broadcast import CallEach
from driver.hypervisor.ept import EPT_ALL, LeafEntry
from driver.hypervisor.hooks import MOST_HOOKS, Hooks, RightsWithout
from driver.hypervisor.services import SERVICE_ARM_HOOK, SERVICE_DISARM_HOOK
from ntsim.wdm import *


def FreeHook() -> LONG:
    """The number of a hook that is not in use; -1 if all are."""
    return next((i for i in range(MOST_HOOKS) if not Hooks[i].Access), -1)


def WatchPage(Address, Access):
    """(status, number of the hook): accesses of these kinds to the app's page are reported."""
    i = FreeHook()
    if i < 0:
        return STATUS_INSUFFICIENT_RESOURCES, 0
    if not Access or Access & ~EPT_ALL:
        return STATUS_INVALID_PARAMETER, 0
    Status, Mdl = LockPage(Address)
    if not NT_SUCCESS(Status):
        return Status, 0
    Page = cast(MmGetMdlPfnArray(Mdl), PULONGLONG)[0] << PAGE_SHIFT
    if IsHooked(Page):
        Unlock(Mdl)
        return STATUS_DEVICE_BUSY, 0
    Hook = Hooks[i]
    Hook.Page, Hook.Mdl, Hook.Copy = Page, Mdl, NULL
    Hook.Open = LeafEntry(Page, EPT_ALL)
    Hook.Armed = LeafEntry(Page, RightsWithout(Access))
    Hook.Access = Access
    return ArmEverywhere(i), i


def IsHooked(Page) -> bool:
    return any(Hooks[i].Access and Hooks[i].Page == Page for i in range(MOST_HOOKS))


def LockPage(Address):
    """(status, MDL of the byte at an app's address). The app may have given us anything."""
    Mdl = IoAllocateMdl(Address, 1, FALSE, FALSE, NULL)
    if Mdl == NULL:
        return STATUS_INSUFFICIENT_RESOURCES, NULL
    try:
        MmProbeAndLockPages(Mdl, UserMode, IoModifyAccess)
    except StructuredException as Exception:
        IoFreeMdl(Mdl)
        return Exception.ExceptionCode, NULL
    return STATUS_SUCCESS, Mdl


def Unlock(Mdl) -> None:
    MmUnlockPages(Mdl)
    IoFreeMdl(Mdl)


def ArmEverywhere(i) -> NTSTATUS:
    """On all processors, or on none and the hook is free again."""
    Status = CallEach(SERVICE_ARM_HOOK, i)
    if not NT_SUCCESS(Status):
        RemoveHook(i)
    return Status


def RemoveHook(i) -> NTSTATUS:
    """Disarmed on every processor first: from then on nobody looks at its memory."""
    if i >= MOST_HOOKS or not Hooks[i].Access:
        return STATUS_INVALID_PARAMETER
    CallEach(SERVICE_DISARM_HOOK, i)
    Hook = Hooks[i]
    Hook.Access = 0
    if Hook.Mdl:
        Unlock(Hook.Mdl)
    if Hook.Copy:
        MmFreeContiguousMemory(Hook.Copy)
    Hook.Mdl = Hook.Copy = NULL
    return STATUS_SUCCESS


def RemoveHooks() -> None:
    """All of them, before the processors are given back."""
    for i in range(MOST_HOOKS):
        if Hooks[i].Access:
            RemoveHook(i)
