"""Names of ntoskrnl and hal beside the documented routines: what compiled drivers also import.

Routines that the WDK's documentation leaves out, and variables. Names from the kernel's export
table (mingw-w64 lib64/ntoskrnl.def) as far as drivers of the field use them.
"""

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
    "ZwQuerySystemInformation ZwWaitForMultipleObjects wcscpy_s".split()
)

VARIABLES = (
    "ExDesktopObjectType ExEventObjectType ExSemaphoreObjectType ExWindowStationObjectType "
    "FsRtlLegalAnsiCharacterArray HalDispatchTable InitSafeBootMode IoAdapterObjectType "
    "IoDeviceHandlerObjectType IoDeviceObjectType IoDriverObjectType IoFileObjectType "
    "KdDebuggerEnabled KdDebuggerNotPresent KeNumberProcessors LpcPortObjectType "
    "MmHighestUserAddress MmSectionObjectType MmSystemRangeStart MmUserProbeAddress "
    "NtBuildNumber NtGlobalFlag PsInitialSystemProcess PsJobType PsProcessType PsThreadType "
    "SeExports SeTokenObjectType".split()
)
