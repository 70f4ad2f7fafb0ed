"""Names of ntoskrnl and hal beside the documented routines: what compiled drivers also import.

Routines that the WDK's documentation leaves out, and variables. Names from the kernel's export
table (mingw-w64 lib64/ntoskrnl.def).
"""

from functools import cache
from importlib.resources import files

ROUTINES = (
    "__C_specific_handler __chkstk _local_unwind _setjmp _setjmpex longjmp RtlRaiseStatus "
    "RtlLookupFunctionEntry RtlRaiseException RtlRestoreContext RtlUnwind RtlUnwindEx "
    "RtlVirtualUnwind CcCanIWrite CcCopyReadEx CcCopyWriteEx CcDeferWrite CcFastCopyRead "
    "CcFastCopyWrite CcGetDirtyPages CcGetFileObjectFromSectionPtrs CcIsThereDirtyData CcMdlRead "
    "CcMdlReadComplete CcMdlWriteAbort CcMdlWriteComplete CcPrepareMdlWrite CcRemapBcb "
    "CcRepinBcb CcScheduleReadAhead CcSetBcbOwnerPointer CcSetDirtyPageThreshold "
    "CcSetReadAheadGranularity CcUnpinRepinnedBcb CcWaitForCurrentLazyWriterActivity CcZeroData "
    "ExRaiseHardError "
    "KeAcquireInStackQueuedSpinLockRaiseToSynch KeAcquireQueuedSpinLockRaiseToSynch "
    "KeTryToAcquireQueuedSpinLockRaiseToSynch MmCreateSection MmMapViewOfSection "
    "MmUnmapViewOfSection NtMapViewOfSection ObCreateObject ObCreateObjectType "
    "ObOpenObjectByName ObReferenceObjectByName PsChargeProcessNonPagedPoolQuota "
    "PsChargeProcessPagedPoolQuota PsGetProcessInheritedFromUniqueProcessId "
    "PsGetProcessSectionBaseAddress PsReturnProcessNonPagedPoolQuota "
    "PsReturnProcessPagedPoolQuota RtlAddRange RtlDeleteRange RtlFillMemory RtlFreeRangeList "
    "RtlGetFirstRange RtlGetNextRange RtlInitializeRangeList RtlIpv4StringToAddressW "
    "RtlIsRangeAvailable RtlMoveMemory RtlPcToFileHeader RtlSetSaclSecurityDescriptor "
    "SeCaptureSecurityDescriptor SeCreateAccessState SeDeleteAccessState "
    "ZwCreateSymbolicLinkObject ZwQueryInformationProcess ZwQuerySection "
    "ZwQuerySystemInformation ZwWaitForMultipleObjects wcscpy_s MmLoadSystemImage "
    "MmUnloadSystemImage ObDuplicateObject PsGetProcessProtection PsIsWin32KFilterEnabled "
    "RtlFindExportedRoutineByName RtlImageNtHeaderEx SeGetCachedSigningLevel sqrt sqrtf".split()
)

VARIABLES = (
    "CcFastMdlReadWait CcFastReadNotPossible CcFastReadWait CmKeyObjectType ExDesktopObjectType "
    "ExEventObjectType ExSemaphoreObjectType ExWindowStationObjectType "
    "FsRtlLegalAnsiCharacterArray HalDispatchTable HalPrivateDispatchTable InitSafeBootMode "
    "IoAdapterObjectType IoDeviceHandlerObjectSize IoDeviceHandlerObjectType IoDeviceObjectType "
    "IoDriverObjectType IoFileObjectType IoReadOperationCount IoReadTransferCount "
    "IoStatisticsLock IoWriteOperationCount IoWriteTransferCount KdComPortInUse "
    "KdDebuggerEnabled KdDebuggerNotPresent KdEnteredDebugger KeLastBranchMSR KeLoaderBlock "
    "KeNumberProcessors KiBugCheckData LpcPortObjectType Mm64BitPhysicalAddress MmBadPointer "
    "MmHighestUserAddress MmSectionObjectType MmSystemRangeStart MmUserProbeAddress "
    "NlsAnsiCodePage NlsLeadByteInfo NlsMbCodePageTag NlsMbOemCodePageTag NlsOemCodePage "
    "NlsOemLeadByteInfo NtBuildGUID NtBuildLab NtBuildNumber NtGlobalFlag "
    "PsInitialSystemProcess PsJobType PsLoadedModuleList PsLoadedModuleResource PsProcessType "
    "PsThreadType PsUILanguageComitted SeExports SePublicDefaultDacl SeSystemDefaultDacl "
    "SeTokenObjectType TmEnlistmentObjectType TmResourceManagerObjectType "
    "TmTransactionManagerObjectType TmTransactionObjectType".split()
)

ALSO_EXPORTED = (
    "IoAllocateAdapterChannel KeGetCurrentIrql PsGetCurrentThread RtlCopyMemory RtlEqualLuid "
    "RtlZeroMemory".split()
)
"""What headers expand in the caller and the kernel has a routine for all the same: drivers built
with newer kits, or without those headers, import it."""


@cache
def undocumented() -> tuple[str, ...]:
    """The rest of the kernel's routines: known by name alone."""
    text = files("ntsim.abi").joinpath("data/kernel_exports.txt").read_text(encoding="ascii")
    return tuple(text.split())
