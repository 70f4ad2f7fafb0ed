"""Object manager and security.

Layout: Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie in;
the routine that uses one names its mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, LONGLONG, PVOID, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ex import EX_PUSH_LOCK
    from ntsim.abi.rtl import LARGE_INTEGER, LIST_ENTRY, LUID, UNICODE_STRING
    from ntsim.abi.se import GENERIC_MAPPING


class OBJECT_HEADER(Structure, size=0x38):
    PointerCount: LONGLONG = at(0x00)
    HandleCount: LONGLONG = at(0x08)
    NextToFree: PVOID = at(0x08)
    Lock: EX_PUSH_LOCK = at(0x10)
    TypeIndex: UCHAR = at(0x18)
    TraceFlags: UCHAR = at(0x19)
    InfoMask: UCHAR = at(0x1A)
    Flags: UCHAR = at(0x1B)
    Reserved: ULONG = at(0x1C)
    ObjectCreateInfo: PVOID = at(0x20)
    QuotaBlockCharged: PVOID = at(0x20)
    SecurityDescriptor: PVOID = at(0x28)
    Body: LONGLONG = at(0x30)


class OBJECT_HEADER_NAME_INFO(Structure, size=0x20):
    Directory: POBJECT_DIRECTORY = at(0x00)
    Name: UNICODE_STRING = at(0x08)
    ReferenceCount: LONG = at(0x18)
    Reserved: ULONG = at(0x1C)


class OBJECT_HEADER_CREATOR_INFO(Structure, size=0x20):
    TypeList: LIST_ENTRY = at(0x00)
    CreatorUniqueProcess: PVOID = at(0x10)
    CreatorBackTraceIndex: USHORT = at(0x18)
    Reserved1: USHORT = at(0x1A)
    Reserved2: ULONG = at(0x1C)


class OBJECT_HEADER_HANDLE_INFO(Structure, size=0x10):
    HandleCountDataBase: PVOID = at(0x00)
    # SingleEntry at 0x0: _OBJECT_HANDLE_COUNT_ENTRY


class OBJECT_HEADER_QUOTA_INFO(Structure, size=0x20):
    PagedPoolCharge: ULONG = at(0x00)
    NonPagedPoolCharge: ULONG = at(0x04)
    SecurityDescriptorCharge: ULONG = at(0x08)
    Reserved1: ULONG = at(0x0C)
    SecurityDescriptorQuotaBlock: PVOID = at(0x10)
    Reserved2: ULONGLONG = at(0x18)


class OBJECT_TYPE_INITIALIZER(Structure, size=0x78):
    Length: USHORT = at(0x00)
    ObjectTypeFlags: USHORT = at(0x02)
    ObjectTypeCode: ULONG = at(0x04)
    InvalidAttributes: ULONG = at(0x08)
    GenericMapping: GENERIC_MAPPING = at(0x0C)
    ValidAccessMask: ULONG = at(0x1C)
    RetainAccess: ULONG = at(0x20)
    PoolType: LONG = at(0x24)
    DefaultPagedPoolCharge: ULONG = at(0x28)
    DefaultNonPagedPoolCharge: ULONG = at(0x2C)
    DumpProcedure: PVOID = at(0x30)
    OpenProcedure: PVOID = at(0x38)
    CloseProcedure: PVOID = at(0x40)
    DeleteProcedure: PVOID = at(0x48)
    ParseProcedure: PVOID = at(0x50)
    ParseProcedureEx: PVOID = at(0x50)
    SecurityProcedure: PVOID = at(0x58)
    QueryNameProcedure: PVOID = at(0x60)
    OkayToCloseProcedure: PVOID = at(0x68)
    WaitObjectFlagMask: ULONG = at(0x70)
    WaitObjectFlagOffset: USHORT = at(0x74)
    WaitObjectPointerOffset: USHORT = at(0x76)


class OBJECT_TYPE(Structure, size=0xD8):
    TypeList: LIST_ENTRY = at(0x00)
    Name: UNICODE_STRING = at(0x10)
    DefaultObject: PVOID = at(0x20)
    Index: UCHAR = at(0x28)
    TotalNumberOfObjects: ULONG = at(0x2C)
    TotalNumberOfHandles: ULONG = at(0x30)
    HighWaterNumberOfObjects: ULONG = at(0x34)
    HighWaterNumberOfHandles: ULONG = at(0x38)
    TypeInfo: OBJECT_TYPE_INITIALIZER = at(0x40)
    TypeLock: EX_PUSH_LOCK = at(0xB8)
    Key: ULONG = at(0xC0)
    CallbackList: LIST_ENTRY = at(0xC8)


class OBJECT_DIRECTORY_ENTRY(Structure, size=0x18):
    ChainLink: POBJECT_DIRECTORY_ENTRY = at(0x00)
    Object: PVOID = at(0x08)
    HashValue: ULONG = at(0x10)


class OBJECT_DIRECTORY(Structure, size=0x158):
    HashBuckets = array("POBJECT_DIRECTORY_ENTRY", 37, 0x00)
    Lock: EX_PUSH_LOCK = at(0x128)
    DeviceMap: PVOID = at(0x130)
    ShadowDirectory: POBJECT_DIRECTORY = at(0x138)
    NamespaceEntry: PVOID = at(0x140)
    SessionObject: PVOID = at(0x148)
    Flags: ULONG = at(0x150)
    SessionId: ULONG = at(0x154)


class OBJECT_SYMBOLIC_LINK(Structure, size=0x28):
    CreationTime: LARGE_INTEGER = at(0x00)
    LinkTarget: UNICODE_STRING = at(0x08)
    DosDeviceDriveIndex: ULONG = at(0x18)
    Flags: ULONG = at(0x1C)
    AccessMask: ULONG = at(0x20)


class OBJECT_NAME_INFORMATION(Structure, size=0x10):
    Name: UNICODE_STRING = at(0x00)


class SECURITY_SUBJECT_CONTEXT(Structure, size=0x20):
    ClientToken: PVOID = at(0x00)
    ImpersonationLevel: LONG = at(0x08)
    PrimaryToken: PVOID = at(0x10)
    ProcessAuditId: PVOID = at(0x18)


class ACCESS_STATE(Structure, size=0xA0):
    OperationID: LUID = at(0x00)
    SecurityEvaluated: UCHAR = at(0x08)
    GenerateAudit: UCHAR = at(0x09)
    GenerateOnClose: UCHAR = at(0x0A)
    PrivilegesAllocated: UCHAR = at(0x0B)
    Flags: ULONG = at(0x0C)
    RemainingDesiredAccess: ULONG = at(0x10)
    PreviouslyGrantedAccess: ULONG = at(0x14)
    OriginalDesiredAccess: ULONG = at(0x18)
    SubjectSecurityContext: SECURITY_SUBJECT_CONTEXT = at(0x20)
    SecurityDescriptor: PVOID = at(0x40)
    AuxData: PVOID = at(0x48)
    AuditPrivileges: UCHAR = at(0x7C)
    ObjectName: UNICODE_STRING = at(0x80)
    ObjectTypeName: UNICODE_STRING = at(0x90)


class OB_OPERATION_REGISTRATION(Structure, size=0x20):
    ObjectType: PVOID = at(0x00)
    Operations: ULONG = at(0x08)
    PreOperation: PVOID = at(0x10)
    PostOperation: PVOID = at(0x18)


class OB_CALLBACK_REGISTRATION(Structure, size=0x28):
    Version: USHORT = at(0x00)
    OperationRegistrationCount: USHORT = at(0x02)
    Altitude: UNICODE_STRING = at(0x08)
    RegistrationContext: PVOID = at(0x18)
    OperationRegistration: POB_OPERATION_REGISTRATION = at(0x20)


class OB_PRE_CREATE_HANDLE_INFORMATION(Structure, size=0x8):
    DesiredAccess: ULONG = at(0x00)
    OriginalDesiredAccess: ULONG = at(0x04)


class OB_PRE_DUPLICATE_HANDLE_INFORMATION(Structure, size=0x18):
    DesiredAccess: ULONG = at(0x00)
    OriginalDesiredAccess: ULONG = at(0x04)
    SourceProcess: PVOID = at(0x08)
    TargetProcess: PVOID = at(0x10)


class OB_PRE_OPERATION_PARAMETERS(Structure, size=0x18):
    CreateHandleInformation: OB_PRE_CREATE_HANDLE_INFORMATION = at(0x00)
    DuplicateHandleInformation: OB_PRE_DUPLICATE_HANDLE_INFORMATION = at(0x00)


class OB_PRE_OPERATION_INFORMATION(Structure, size=0x28):
    Operation: ULONG = at(0x00)
    Flags: ULONG = at(0x04)
    Object: PVOID = at(0x08)
    ObjectType: PVOID = at(0x10)
    CallContext: PVOID = at(0x18)
    Parameters: POB_PRE_OPERATION_PARAMETERS = at(0x20)


class OB_POST_CREATE_HANDLE_INFORMATION(Structure, size=0x4):
    GrantedAccess: ULONG = at(0x00)


class OB_POST_OPERATION_PARAMETERS(Structure, size=0x4):
    CreateHandleInformation: OB_POST_CREATE_HANDLE_INFORMATION = at(0x00)
    DuplicateHandleInformation: OB_POST_CREATE_HANDLE_INFORMATION = at(0x00)


class OB_POST_OPERATION_INFORMATION(Structure, size=0x30):
    Operation: ULONG = at(0x00)
    Flags: ULONG = at(0x04)
    Object: PVOID = at(0x08)
    ObjectType: PVOID = at(0x10)
    CallContext: PVOID = at(0x18)
    ReturnStatus: LONG = at(0x20)
    Parameters: POB_POST_OPERATION_PARAMETERS = at(0x28)


if TYPE_CHECKING:
    POB_OPERATION_REGISTRATION = OB_OPERATION_REGISTRATION
    POB_CALLBACK_REGISTRATION = OB_CALLBACK_REGISTRATION
    POB_PRE_OPERATION_PARAMETERS = OB_PRE_OPERATION_PARAMETERS
    POB_POST_OPERATION_PARAMETERS = OB_POST_OPERATION_PARAMETERS
    POBJECT_HEADER = OBJECT_HEADER
    POBJECT_HEADER_NAME_INFO = OBJECT_HEADER_NAME_INFO
    POBJECT_HEADER_CREATOR_INFO = OBJECT_HEADER_CREATOR_INFO
    POBJECT_HEADER_HANDLE_INFO = OBJECT_HEADER_HANDLE_INFO
    POBJECT_HEADER_QUOTA_INFO = OBJECT_HEADER_QUOTA_INFO
    POBJECT_TYPE_INITIALIZER = OBJECT_TYPE_INITIALIZER
    POBJECT_TYPE = OBJECT_TYPE
    POBJECT_DIRECTORY_ENTRY = OBJECT_DIRECTORY_ENTRY
    POBJECT_DIRECTORY = OBJECT_DIRECTORY
    POBJECT_NAME_INFORMATION = OBJECT_NAME_INFORMATION
    PSECURITY_SUBJECT_CONTEXT = SECURITY_SUBJECT_CONTEXT
    PACCESS_STATE = ACCESS_STATE
