"""I/O manager.

Layout: Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie in;
the routine that uses one names its mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import (
    LONG,
    NTSTATUS,
    PIO_CSQ_ACQUIRE_LOCK,
    PIO_CSQ_COMPLETE_CANCELED_IRP,
    PIO_CSQ_INSERT_IRP,
    PIO_CSQ_PEEK_NEXT_IRP,
    PIO_CSQ_RELEASE_LOCK,
    PIO_CSQ_REMOVE_IRP,
    PVOID,
    SHORT,
    UCHAR,
    ULONG,
    ULONGLONG,
    USHORT,
)
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ex import WORK_QUEUE_ITEM
    from ntsim.abi.ke import KAPC, KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY, KDPC, KEVENT, PKDPC, PKEVENT
    from ntsim.abi.mm import PMDL
    from ntsim.abi.ob import PACCESS_STATE
    from ntsim.abi.ps import PETHREAD
    from ntsim.abi.rtl import (
        GUID,
        LARGE_INTEGER,
        LIST_ENTRY,
        PGUID,
        PLARGE_INTEGER,
        PUNICODE_STRING,
        UNICODE_STRING,
    )


class IO_STATUS_BLOCK(Structure, size=0x10):
    Pointer: PVOID = at(0x00)
    Status: NTSTATUS = at(0x00)
    Information: ULONGLONG = at(0x08)


class IO_SECURITY_CONTEXT(Structure, size=0x18):
    SecurityQos: PVOID = at(0x00)
    AccessState: PACCESS_STATE = at(0x08)
    DesiredAccess: ULONG = at(0x10)
    FullCreateOptions: ULONG = at(0x14)


class IO_STACK_LOCATION(Structure, size=0x48):
    MajorFunction: UCHAR = at(0x00)
    MinorFunction: UCHAR = at(0x01)
    Flags: UCHAR = at(0x02)
    Control: UCHAR = at(0x03)

    class _Parameters(Structure):
        class _Create(Structure):
            SecurityContext: PIO_SECURITY_CONTEXT = at(0x00)
            Options: ULONG = at(0x08)
            FileAttributes: USHORT = at(0x10)
            ShareAccess: USHORT = at(0x12)
            EaLength: ULONG = at(0x18)

        Create: _Create = at(0x00)

        class _CreateMailslot(Structure):
            SecurityContext: PIO_SECURITY_CONTEXT = at(0x00)
            Options: ULONG = at(0x08)
            Reserved: USHORT = at(0x10)
            ShareAccess: USHORT = at(0x12)
            Parameters: PVOID = at(0x18)

        CreateMailslot: _CreateMailslot = at(0x00)

        class _CreatePipe(Structure):
            SecurityContext: PIO_SECURITY_CONTEXT = at(0x00)
            Options: ULONG = at(0x08)
            Reserved: USHORT = at(0x10)
            ShareAccess: USHORT = at(0x12)
            Parameters: PVOID = at(0x18)

        CreatePipe: _CreatePipe = at(0x00)

        class _DeviceCapabilities(Structure):
            Capabilities: PVOID = at(0x00)

        DeviceCapabilities: _DeviceCapabilities = at(0x00)

        class _DeviceIoControl(Structure):
            OutputBufferLength: ULONG = at(0x00)
            InputBufferLength: ULONG = at(0x08)
            IoControlCode: ULONG = at(0x10)
            Type3InputBuffer: PVOID = at(0x18)

        DeviceIoControl: _DeviceIoControl = at(0x00)

        class _FileSystemControl(Structure):
            OutputBufferLength: ULONG = at(0x00)
            InputBufferLength: ULONG = at(0x08)
            FsControlCode: ULONG = at(0x10)
            Type3InputBuffer: PVOID = at(0x18)

        FileSystemControl: _FileSystemControl = at(0x00)

        class _FilterResourceRequirements(Structure):
            IoResourceRequirementList: PVOID = at(0x00)

        FilterResourceRequirements: _FilterResourceRequirements = at(0x00)

        class _LockControl(Structure):
            Length: PLARGE_INTEGER = at(0x00)
            Key: ULONG = at(0x08)
            ByteOffset: LARGE_INTEGER = at(0x10)

        LockControl: _LockControl = at(0x00)

        class _MountVolume(Structure):
            Vpb: PVPB = at(0x00)
            DeviceObject: PDEVICE_OBJECT = at(0x08)

        MountVolume: _MountVolume = at(0x00)

        class _NotifyDirectory(Structure):
            Length: ULONG = at(0x00)
            CompletionFilter: ULONG = at(0x08)

        NotifyDirectory: _NotifyDirectory = at(0x00)

        class _NotifyDirectoryEx(Structure):
            Length: ULONG = at(0x00)
            CompletionFilter: ULONG = at(0x08)
            DirectoryNotifyInformationClass: LONG = at(0x10)

        NotifyDirectoryEx: _NotifyDirectoryEx = at(0x00)

        class _Others(Structure):
            Argument1: PVOID = at(0x00)
            Argument2: PVOID = at(0x08)
            Argument3: PVOID = at(0x10)
            Argument4: PVOID = at(0x18)

        Others: _Others = at(0x00)

        class _Power(Structure):
            SystemContext: ULONG = at(0x00)
            # SystemPowerStateContext at 0x0: _SYSTEM_POWER_STATE_CONTEXT
            Type: LONG = at(0x08)
            State: POWER_STATE = at(0x10)
            ShutdownType: LONG = at(0x18)

        Power: _Power = at(0x00)

        class _PowerSequence(Structure):
            PowerSequence: PVOID = at(0x00)

        PowerSequence: _PowerSequence = at(0x00)

        class _QueryDeviceRelations(Structure):
            Type: LONG = at(0x00)

        QueryDeviceRelations: _QueryDeviceRelations = at(0x00)

        class _QueryDeviceText(Structure):
            DeviceTextType: LONG = at(0x00)
            LocaleId: ULONG = at(0x08)

        QueryDeviceText: _QueryDeviceText = at(0x00)

        class _QueryDirectory(Structure):
            Length: ULONG = at(0x00)
            FileName: PUNICODE_STRING = at(0x08)
            FileInformationClass: LONG = at(0x10)
            FileIndex: ULONG = at(0x18)

        QueryDirectory: _QueryDirectory = at(0x00)

        class _QueryEa(Structure):
            Length: ULONG = at(0x00)
            EaList: PVOID = at(0x08)
            EaListLength: ULONG = at(0x10)
            EaIndex: ULONG = at(0x18)

        QueryEa: _QueryEa = at(0x00)

        class _QueryFile(Structure):
            Length: ULONG = at(0x00)
            FileInformationClass: LONG = at(0x08)

        QueryFile: _QueryFile = at(0x00)

        class _QueryId(Structure):
            IdType: LONG = at(0x00)

        QueryId: _QueryId = at(0x00)

        class _QueryInterface(Structure):
            InterfaceType: PGUID = at(0x00)
            Size: USHORT = at(0x08)
            Version: USHORT = at(0x0A)
            Interface: PVOID = at(0x10)
            InterfaceSpecificData: PVOID = at(0x18)

        QueryInterface: _QueryInterface = at(0x00)

        class _QueryQuota(Structure):
            Length: ULONG = at(0x00)
            StartSid: PVOID = at(0x08)
            SidList: PVOID = at(0x10)
            SidListLength: ULONG = at(0x18)

        QueryQuota: _QueryQuota = at(0x00)

        class _QuerySecurity(Structure):
            SecurityInformation: ULONG = at(0x00)
            Length: ULONG = at(0x08)

        QuerySecurity: _QuerySecurity = at(0x00)

        class _QueryVolume(Structure):
            Length: ULONG = at(0x00)
            FsInformationClass: LONG = at(0x08)

        QueryVolume: _QueryVolume = at(0x00)

        class _Read(Structure):
            Length: ULONG = at(0x00)
            Key: ULONG = at(0x08)
            Flags: ULONG = at(0x0C)
            ByteOffset: LARGE_INTEGER = at(0x10)

        Read: _Read = at(0x00)

        class _ReadWriteConfig(Structure):
            WhichSpace: ULONG = at(0x00)
            Buffer: PVOID = at(0x08)
            Offset: ULONG = at(0x10)
            Length: ULONG = at(0x18)

        ReadWriteConfig: _ReadWriteConfig = at(0x00)

        class _Scsi(Structure):
            Srb: PVOID = at(0x00)

        Scsi: _Scsi = at(0x00)

        class _SetEa(Structure):
            Length: ULONG = at(0x00)

        SetEa: _SetEa = at(0x00)

        class _SetFile(Structure):
            Length: ULONG = at(0x00)
            FileInformationClass: LONG = at(0x08)
            FileObject: PFILE_OBJECT = at(0x10)
            ClusterCount: ULONG = at(0x18)
            DeleteHandle: PVOID = at(0x18)
            ReplaceIfExists: UCHAR = at(0x18)
            AdvanceOnly: UCHAR = at(0x19)

        SetFile: _SetFile = at(0x00)

        class _SetLock(Structure):
            Lock: UCHAR = at(0x00)

        SetLock: _SetLock = at(0x00)

        class _SetQuota(Structure):
            Length: ULONG = at(0x00)

        SetQuota: _SetQuota = at(0x00)

        class _SetSecurity(Structure):
            SecurityInformation: ULONG = at(0x00)
            SecurityDescriptor: PVOID = at(0x08)

        SetSecurity: _SetSecurity = at(0x00)

        class _SetVolume(Structure):
            Length: ULONG = at(0x00)
            FsInformationClass: LONG = at(0x08)

        SetVolume: _SetVolume = at(0x00)

        class _StartDevice(Structure):
            AllocatedResources: PVOID = at(0x00)
            AllocatedResourcesTranslated: PVOID = at(0x08)

        StartDevice: _StartDevice = at(0x00)

        class _UsageNotification(Structure):
            InPath: UCHAR = at(0x00)
            Reserved = array("UCHAR", 3, 0x01)
            Type: LONG = at(0x08)

        UsageNotification: _UsageNotification = at(0x00)

        class _VerifyVolume(Structure):
            Vpb: PVPB = at(0x00)
            DeviceObject: PDEVICE_OBJECT = at(0x08)

        VerifyVolume: _VerifyVolume = at(0x00)

        class _WMI(Structure):
            ProviderId: ULONGLONG = at(0x00)
            DataPath: PVOID = at(0x08)
            BufferSize: ULONG = at(0x10)
            Buffer: PVOID = at(0x18)

        WMI: _WMI = at(0x00)

        class _WaitWake(Structure):
            PowerState: LONG = at(0x00)

        WaitWake: _WaitWake = at(0x00)

        class _Write(Structure):
            Length: ULONG = at(0x00)
            Key: ULONG = at(0x08)
            Flags: ULONG = at(0x0C)
            ByteOffset: LARGE_INTEGER = at(0x10)

        Write: _Write = at(0x00)

    Parameters: _Parameters = at(0x08)
    DeviceObject: PDEVICE_OBJECT = at(0x28)
    FileObject: PFILE_OBJECT = at(0x30)
    CompletionRoutine: PVOID = at(0x38)
    Context: PVOID = at(0x40)


class IRP(Structure, size=0xD0):
    Type: SHORT = at(0x00)
    Size: USHORT = at(0x02)
    AllocationProcessorNumber: USHORT = at(0x04)
    Reserved: USHORT = at(0x06)
    MdlAddress: PMDL = at(0x08)
    Flags: ULONG = at(0x10)

    class _AssociatedIrp(Structure):
        IrpCount: LONG = at(0x00)
        MasterIrp: PIRP = at(0x00)
        SystemBuffer: PVOID = at(0x00)

    AssociatedIrp: _AssociatedIrp = at(0x18)
    ThreadListEntry: LIST_ENTRY = at(0x20)
    IoStatus: IO_STATUS_BLOCK = at(0x30)
    RequestorMode: UCHAR = at(0x40)
    PendingReturned: UCHAR = at(0x41)
    StackCount: UCHAR = at(0x42)
    CurrentLocation: UCHAR = at(0x43)
    Cancel: UCHAR = at(0x44)
    CancelIrql: UCHAR = at(0x45)
    ApcEnvironment: UCHAR = at(0x46)
    AllocationFlags: UCHAR = at(0x47)
    UserIosb: PIO_STATUS_BLOCK = at(0x48)
    UserEvent: PKEVENT = at(0x50)

    class _Overlay(Structure):
        AllocationSize: LARGE_INTEGER = at(0x00)

        class _AsynchronousParameters(Structure):
            IssuingProcess: PVOID = at(0x00)
            UserApcRoutine: PVOID = at(0x00)
            UserApcContext: PVOID = at(0x08)

        AsynchronousParameters: _AsynchronousParameters = at(0x00)

    Overlay: _Overlay = at(0x58)
    CancelRoutine: PVOID = at(0x68)
    UserBuffer: PVOID = at(0x70)

    class _Tail(Structure):
        Apc: KAPC = at(0x00)
        CompletionKey: PVOID = at(0x00)

        class _Overlay(Structure):
            DeviceQueueEntry: KDEVICE_QUEUE_ENTRY = at(0x00)
            DriverContext = array("PVOID", 4, 0x00)
            Thread: PETHREAD = at(0x20)
            AuxiliaryBuffer: PVOID = at(0x28)
            ListEntry: LIST_ENTRY = at(0x30)
            CurrentStackLocation: PIO_STACK_LOCATION = at(0x40)
            PacketType: ULONG = at(0x40)
            OriginalFileObject: PFILE_OBJECT = at(0x48)
            IrpExtension: PVOID = at(0x50)

        Overlay: _Overlay = at(0x00)

    Tail: _Tail = at(0x78)


class WAIT_CONTEXT_BLOCK(Structure, size=0x48):
    DmaWaitEntry: LIST_ENTRY = at(0x00)
    WaitQueueEntry: KDEVICE_QUEUE_ENTRY = at(0x00)
    NumberOfChannels: ULONG = at(0x10)
    DeviceRoutine: PVOID = at(0x18)
    DeviceContext: PVOID = at(0x20)
    NumberOfMapRegisters: ULONG = at(0x28)
    DeviceObject: PVOID = at(0x30)
    CurrentIrp: PVOID = at(0x38)
    BufferChainingDpc: PKDPC = at(0x40)


class DEVICE_OBJECT(Structure, size=0x150):
    Type: SHORT = at(0x00)
    Size: USHORT = at(0x02)
    ReferenceCount: LONG = at(0x04)
    DriverObject: PDRIVER_OBJECT = at(0x08)
    NextDevice: PDEVICE_OBJECT = at(0x10)
    AttachedDevice: PDEVICE_OBJECT = at(0x18)
    CurrentIrp: PIRP = at(0x20)
    Timer: PIO_TIMER = at(0x28)
    Flags: ULONG = at(0x30)
    Characteristics: ULONG = at(0x34)
    Vpb: PVPB = at(0x38)
    DeviceExtension: PVOID = at(0x40)
    DeviceType: ULONG = at(0x48)
    StackSize: UCHAR = at(0x4C)

    class _Queue(Structure):
        ListEntry: LIST_ENTRY = at(0x00)
        Wcb: WAIT_CONTEXT_BLOCK = at(0x00)

    Queue: _Queue = at(0x50)
    AlignmentRequirement: ULONG = at(0x98)
    DeviceQueue: KDEVICE_QUEUE = at(0xA0)
    Dpc: KDPC = at(0xC8)
    ActiveThreadCount: ULONG = at(0x108)
    SecurityDescriptor: PVOID = at(0x110)
    DeviceLock: KEVENT = at(0x118)
    SectorSize: USHORT = at(0x130)
    Spare1: USHORT = at(0x132)
    DeviceObjectExtension: PDEVOBJ_EXTENSION = at(0x138)
    Reserved: PVOID = at(0x140)


class DEVOBJ_EXTENSION(Structure, size=0x70):
    Type: SHORT = at(0x00)
    Size: USHORT = at(0x02)
    DeviceObject: PDEVICE_OBJECT = at(0x08)
    PowerFlags: ULONG = at(0x10)
    Dope: PVOID = at(0x18)
    ExtensionFlags: ULONG = at(0x20)
    DeviceNode: PVOID = at(0x28)
    AttachedTo: PDEVICE_OBJECT = at(0x30)
    StartIoCount: LONG = at(0x38)
    StartIoKey: LONG = at(0x3C)
    StartIoFlags: ULONG = at(0x40)
    Vpb: PVPB = at(0x48)
    DependencyNode: PVOID = at(0x50)
    InterruptContext: PVOID = at(0x58)
    InterruptCount: LONG = at(0x60)
    VerifierContext: PVOID = at(0x68)


class FAST_IO_DISPATCH(Structure, size=0xE0):
    SizeOfFastIoDispatch: ULONG = at(0x00)
    FastIoCheckIfPossible: PVOID = at(0x08)
    FastIoRead: PVOID = at(0x10)
    FastIoWrite: PVOID = at(0x18)
    FastIoQueryBasicInfo: PVOID = at(0x20)
    FastIoQueryStandardInfo: PVOID = at(0x28)
    FastIoLock: PVOID = at(0x30)
    FastIoUnlockSingle: PVOID = at(0x38)
    FastIoUnlockAll: PVOID = at(0x40)
    FastIoUnlockAllByKey: PVOID = at(0x48)
    FastIoDeviceControl: PVOID = at(0x50)
    AcquireFileForNtCreateSection: PVOID = at(0x58)
    ReleaseFileForNtCreateSection: PVOID = at(0x60)
    FastIoDetachDevice: PVOID = at(0x68)
    FastIoQueryNetworkOpenInfo: PVOID = at(0x70)
    AcquireForModWrite: PVOID = at(0x78)
    MdlRead: PVOID = at(0x80)
    MdlReadComplete: PVOID = at(0x88)
    PrepareMdlWrite: PVOID = at(0x90)
    MdlWriteComplete: PVOID = at(0x98)
    FastIoReadCompressed: PVOID = at(0xA0)
    FastIoWriteCompressed: PVOID = at(0xA8)
    MdlReadCompleteCompressed: PVOID = at(0xB0)
    MdlWriteCompleteCompressed: PVOID = at(0xB8)
    FastIoQueryOpen: PVOID = at(0xC0)
    ReleaseForModWrite: PVOID = at(0xC8)
    AcquireForCcFlush: PVOID = at(0xD0)
    ReleaseForCcFlush: PVOID = at(0xD8)


class DRIVER_EXTENSION(Structure, size=0x50):
    DriverObject: PDRIVER_OBJECT = at(0x00)
    AddDevice: PVOID = at(0x08)
    Count: ULONG = at(0x10)
    ServiceKeyName: UNICODE_STRING = at(0x18)
    ClientDriverExtension: PVOID = at(0x28)
    FsFilterCallbacks: PVOID = at(0x30)
    KseCallbacks: PVOID = at(0x38)
    DvCallbacks: PVOID = at(0x40)
    VerifierContext: PVOID = at(0x48)


class DRIVER_OBJECT(Structure, size=0x150):
    Type: SHORT = at(0x00)
    Size: SHORT = at(0x02)
    DeviceObject: PDEVICE_OBJECT = at(0x08)
    Flags: ULONG = at(0x10)
    DriverStart: PVOID = at(0x18)
    DriverSize: ULONG = at(0x20)
    DriverSection: PVOID = at(0x28)
    DriverExtension: PDRIVER_EXTENSION = at(0x30)
    DriverName: UNICODE_STRING = at(0x38)
    HardwareDatabase: PUNICODE_STRING = at(0x48)
    FastIoDispatch: PFAST_IO_DISPATCH = at(0x50)
    DriverInit: PVOID = at(0x58)
    DriverStartIo: PVOID = at(0x60)
    DriverUnload: PVOID = at(0x68)
    MajorFunction = array("PVOID", 28, 0x70)


class SECTION_OBJECT_POINTERS(Structure, size=0x18):
    DataSectionObject: PVOID = at(0x00)
    SharedCacheMap: PVOID = at(0x08)
    ImageSectionObject: PVOID = at(0x10)


class IO_COMPLETION_CONTEXT(Structure, size=0x10):
    Port: PVOID = at(0x00)
    Key: PVOID = at(0x08)


class FILE_OBJECT(Structure, size=0xD8):
    Type: SHORT = at(0x00)
    Size: SHORT = at(0x02)
    DeviceObject: PDEVICE_OBJECT = at(0x08)
    Vpb: PVPB = at(0x10)
    FsContext: PVOID = at(0x18)
    FsContext2: PVOID = at(0x20)
    SectionObjectPointer: PSECTION_OBJECT_POINTERS = at(0x28)
    PrivateCacheMap: PVOID = at(0x30)
    FinalStatus: NTSTATUS = at(0x38)
    RelatedFileObject: PFILE_OBJECT = at(0x40)
    LockOperation: UCHAR = at(0x48)
    DeletePending: UCHAR = at(0x49)
    ReadAccess: UCHAR = at(0x4A)
    WriteAccess: UCHAR = at(0x4B)
    DeleteAccess: UCHAR = at(0x4C)
    SharedRead: UCHAR = at(0x4D)
    SharedWrite: UCHAR = at(0x4E)
    SharedDelete: UCHAR = at(0x4F)
    Flags: ULONG = at(0x50)
    FileName: UNICODE_STRING = at(0x58)
    CurrentByteOffset: LARGE_INTEGER = at(0x68)
    Waiters: ULONG = at(0x70)
    Busy: ULONG = at(0x74)
    LastLock: PVOID = at(0x78)
    Lock: KEVENT = at(0x80)
    Event: KEVENT = at(0x98)
    CompletionContext: PIO_COMPLETION_CONTEXT = at(0xB0)
    IrpListLock: ULONGLONG = at(0xB8)
    IrpList: LIST_ENTRY = at(0xC0)
    FileObjectExtension: PVOID = at(0xD0)


class IO_TIMER(Structure, size=0x30):
    Type: SHORT = at(0x00)
    TimerFlag: SHORT = at(0x02)
    TimerList: LIST_ENTRY = at(0x08)
    TimerRoutine: PVOID = at(0x18)
    Context: PVOID = at(0x20)
    DeviceObject: PDEVICE_OBJECT = at(0x28)


class IO_WORKITEM(Structure, size=0x58):
    WorkItem: WORK_QUEUE_ITEM = at(0x00)
    Routine: PVOID = at(0x20)
    IoObject: PVOID = at(0x28)
    Context: PVOID = at(0x30)
    WorkOnBehalfThread: PETHREAD = at(0x38)
    Type: ULONG = at(0x40)
    ActivityId: GUID = at(0x44)


class IO_CSQ(Structure, size=0x40):
    Type: ULONG = at(0x00)
    CsqInsertIrp: PIO_CSQ_INSERT_IRP = at(0x08)
    CsqRemoveIrp: PIO_CSQ_REMOVE_IRP = at(0x10)
    CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP = at(0x18)
    CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK = at(0x20)
    CsqReleaseLock: PIO_CSQ_RELEASE_LOCK = at(0x28)
    CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP = at(0x30)
    ReservePointer: PVOID = at(0x38)


class IO_CSQ_IRP_CONTEXT(Structure, size=0x18):
    Type: ULONG = at(0x00)
    Irp: PIRP = at(0x08)
    Csq: PIO_CSQ = at(0x10)


class IO_REMOVE_LOCK_COMMON_BLOCK(Structure, size=0x20):
    Removed: UCHAR = at(0x00)
    Reserved = array("UCHAR", 3, 0x01)
    IoCount: LONG = at(0x04)
    RemoveEvent: KEVENT = at(0x08)


class IO_REMOVE_LOCK(Structure, size=0x20):
    Common: IO_REMOVE_LOCK_COMMON_BLOCK = at(0x00)


class VPB(Structure, size=0x60):
    Type: SHORT = at(0x00)
    Size: SHORT = at(0x02)
    Flags: USHORT = at(0x04)
    VolumeLabelLength: USHORT = at(0x06)
    DeviceObject: PDEVICE_OBJECT = at(0x08)
    RealDevice: PDEVICE_OBJECT = at(0x10)
    SerialNumber: ULONG = at(0x18)
    ReferenceCount: ULONG = at(0x1C)
    VolumeLabel = array("WCHAR", 32, 0x20)


class POWER_STATE(Structure, size=0x4):
    DeviceState: LONG = at(0x00)
    SystemState: LONG = at(0x00)


if TYPE_CHECKING:
    PIO_STATUS_BLOCK = IO_STATUS_BLOCK
    PIO_SECURITY_CONTEXT = IO_SECURITY_CONTEXT
    PIO_STACK_LOCATION = IO_STACK_LOCATION
    PIRP = IRP
    PWAIT_CONTEXT_BLOCK = WAIT_CONTEXT_BLOCK
    PDEVICE_OBJECT = DEVICE_OBJECT
    PDEVOBJ_EXTENSION = DEVOBJ_EXTENSION
    PFAST_IO_DISPATCH = FAST_IO_DISPATCH
    PDRIVER_EXTENSION = DRIVER_EXTENSION
    PDRIVER_OBJECT = DRIVER_OBJECT
    PSECTION_OBJECT_POINTERS = SECTION_OBJECT_POINTERS
    PIO_COMPLETION_CONTEXT = IO_COMPLETION_CONTEXT
    PFILE_OBJECT = FILE_OBJECT
    PIO_TIMER = IO_TIMER
    PIO_WORKITEM = IO_WORKITEM
    PIO_CSQ = IO_CSQ
    PIO_CSQ_IRP_CONTEXT = IO_CSQ_IRP_CONTEXT
    PIO_REMOVE_LOCK_COMMON_BLOCK = IO_REMOVE_LOCK_COMMON_BLOCK
    PIO_REMOVE_LOCK = IO_REMOVE_LOCK
    PVPB = VPB
    PPOWER_STATE = POWER_STATE
