"""Plug and Play and power: resources, capabilities, relations, notifications, device nodes.

Layout: wdm.h (resource lists are packed to four bytes) and, for DEVICE_NODE, POP_IRP_DATA and
TRIAGE_9F_POWER, Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie
in; the constants `CAPABILITY_*` below are the bits of DEVICE_CAPABILITIES.Flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, NTSTATUS, PVOID, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PFILE_OBJECT, PIRP, POWER_STATE
    from ntsim.abi.ke import KDPC, KTIMER
    from ntsim.abi.rtl import GUID, LARGE_INTEGER, LIST_ENTRY, PUNICODE_STRING, UNICODE_STRING

# Bits of DEVICE_CAPABILITIES.Flags
CAPABILITY_DEVICE_D1, CAPABILITY_DEVICE_D2 = 1 << 0, 1 << 1
CAPABILITY_EJECT_SUPPORTED, CAPABILITY_REMOVABLE = 1 << 3, 1 << 4
CAPABILITY_UNIQUE_ID, CAPABILITY_RAW_DEVICE_OK = 1 << 6, 1 << 8
CAPABILITY_SURPRISE_REMOVAL_OK = 1 << 9


class CM_PARTIAL_RESOURCE_DESCRIPTOR(Structure, size=0x14):
    Type: UCHAR = at(0x00)
    ShareDisposition: UCHAR = at(0x01)
    Flags: USHORT = at(0x02)

    class _u(Structure):
        class _Generic(Structure):
            Start: LARGE_INTEGER = at(0x00)
            Length: ULONG = at(0x08)

        Generic: _Generic = at(0x00)
        Port: _Generic = at(0x00)
        Memory: _Generic = at(0x00)

        class _Interrupt(Structure):
            Level: ULONG = at(0x00)
            Vector: ULONG = at(0x04)
            Affinity: ULONGLONG = at(0x08)

        Interrupt: _Interrupt = at(0x00)

        class _DevicePrivate(Structure):
            Data = array("ULONG", 3, 0x00)

        DevicePrivate: _DevicePrivate = at(0x00)

    u: _u = at(0x04)


class CM_PARTIAL_RESOURCE_LIST(Structure, size=0x1C):
    Version: USHORT = at(0x00)
    Revision: USHORT = at(0x02)
    Count: ULONG = at(0x04)
    PartialDescriptors = array("CM_PARTIAL_RESOURCE_DESCRIPTOR", 1, 0x08)


class CM_FULL_RESOURCE_DESCRIPTOR(Structure, size=0x24):
    InterfaceType: LONG = at(0x00)
    BusNumber: ULONG = at(0x04)
    PartialResourceList: CM_PARTIAL_RESOURCE_LIST = at(0x08)


class CM_RESOURCE_LIST(Structure, size=0x28):
    Count: ULONG = at(0x00)
    List = array("CM_FULL_RESOURCE_DESCRIPTOR", 1, 0x04)


class IO_RESOURCE_DESCRIPTOR(Structure, size=0x20):
    Option: UCHAR = at(0x00)
    Type: UCHAR = at(0x01)
    ShareDisposition: UCHAR = at(0x02)
    Spare1: UCHAR = at(0x03)
    Flags: USHORT = at(0x04)
    Spare2: USHORT = at(0x06)

    class _u(Structure):
        class _Port(Structure):
            Length: ULONG = at(0x00)
            Alignment: ULONG = at(0x04)
            MinimumAddress: LARGE_INTEGER = at(0x08)
            MaximumAddress: LARGE_INTEGER = at(0x10)

        Port: _Port = at(0x00)
        Memory: _Port = at(0x00)
        Generic: _Port = at(0x00)

        class _Interrupt(Structure):
            MinimumVector: ULONG = at(0x00)
            MaximumVector: ULONG = at(0x04)

        Interrupt: _Interrupt = at(0x00)

    u: _u = at(0x08)


class IO_RESOURCE_LIST(Structure, size=0x28):
    Version: USHORT = at(0x00)
    Revision: USHORT = at(0x02)
    Count: ULONG = at(0x04)
    Descriptors = array("IO_RESOURCE_DESCRIPTOR", 1, 0x08)


class IO_RESOURCE_REQUIREMENTS_LIST(Structure, size=0x48):
    ListSize: ULONG = at(0x00)
    InterfaceType: LONG = at(0x04)
    BusNumber: ULONG = at(0x08)
    SlotNumber: ULONG = at(0x0C)
    Reserved = array("ULONG", 3, 0x10)
    AlternativeLists: ULONG = at(0x1C)
    List = array("IO_RESOURCE_LIST", 1, 0x20)


class DEVICE_CAPABILITIES(Structure, size=0x40):
    Size: USHORT = at(0x00)
    Version: USHORT = at(0x02)
    Flags: ULONG = at(0x04)
    Address: ULONG = at(0x08)
    UINumber: ULONG = at(0x0C)
    DeviceState = array("ULONG", 7, 0x10)
    SystemWake: ULONG = at(0x2C)
    DeviceWake: ULONG = at(0x30)
    D1Latency: ULONG = at(0x34)
    D2Latency: ULONG = at(0x38)
    D3Latency: ULONG = at(0x3C)


class DEVICE_RELATIONS(Structure, size=0x10):
    Count: ULONG = at(0x00)
    Objects = array("PDEVICE_OBJECT", 1, 0x08)


class PNP_BUS_INFORMATION(Structure, size=0x18):
    BusTypeGuid: GUID = at(0x00)
    LegacyBusType: LONG = at(0x10)
    BusNumber: ULONG = at(0x14)


class PLUGPLAY_NOTIFICATION_HEADER(Structure, size=0x14):
    Version: USHORT = at(0x00)
    Size: USHORT = at(0x02)
    Event: GUID = at(0x04)


class DEVICE_INTERFACE_CHANGE_NOTIFICATION(Structure, size=0x30):
    Version: USHORT = at(0x00)
    Size: USHORT = at(0x02)
    Event: GUID = at(0x04)
    InterfaceClassGuid: GUID = at(0x14)
    SymbolicLinkName: PUNICODE_STRING = at(0x28)


class TARGET_DEVICE_REMOVAL_NOTIFICATION(Structure, size=0x20):
    Version: USHORT = at(0x00)
    Size: USHORT = at(0x02)
    Event: GUID = at(0x04)
    FileObject: PFILE_OBJECT = at(0x18)


class TARGET_DEVICE_CUSTOM_NOTIFICATION(Structure, size=0x28):
    Version: USHORT = at(0x00)
    Size: USHORT = at(0x02)
    Event: GUID = at(0x04)
    FileObject: PFILE_OBJECT = at(0x18)
    NameBufferOffset: LONG = at(0x20)
    CustomDataBuffer = array("UCHAR", 1, 0x24)


class IO_CONNECT_INTERRUPT_PARAMETERS(Structure, size=0x50):
    Version: ULONG = at(0x00)

    class _FullySpecified(Structure):
        PhysicalDeviceObject: PDEVICE_OBJECT = at(0x00)
        InterruptObject: PVOID = at(0x08)
        ServiceRoutine: PVOID = at(0x10)
        ServiceContext: PVOID = at(0x18)
        SpinLock: PVOID = at(0x20)
        SynchronizeIrql: UCHAR = at(0x28)
        FloatingSave: UCHAR = at(0x29)
        ShareVector: UCHAR = at(0x2A)
        Vector: ULONG = at(0x2C)
        Irql: UCHAR = at(0x30)
        InterruptMode: LONG = at(0x34)
        ProcessorEnableMask: ULONGLONG = at(0x38)
        Group: USHORT = at(0x40)

    FullySpecified: _FullySpecified = at(0x08)

    class _LineBased(Structure):
        PhysicalDeviceObject: PDEVICE_OBJECT = at(0x00)
        InterruptObject: PVOID = at(0x08)
        ServiceRoutine: PVOID = at(0x10)
        ServiceContext: PVOID = at(0x18)
        SpinLock: PVOID = at(0x20)
        SynchronizeIrql: UCHAR = at(0x28)
        FloatingSave: UCHAR = at(0x29)

    LineBased: _LineBased = at(0x08)


class IO_DISCONNECT_INTERRUPT_PARAMETERS(Structure, size=0x10):
    Version: ULONG = at(0x00)
    InterruptObject: PVOID = at(0x08)


class DEVICE_NODE(Structure, size=0x310):
    Sibling: PDEVICE_NODE = at(0x00)
    Child: PDEVICE_NODE = at(0x08)
    Parent: PDEVICE_NODE = at(0x10)
    LastChild: PDEVICE_NODE = at(0x18)
    PhysicalDeviceObject: PDEVICE_OBJECT = at(0x20)
    InstancePath: UNICODE_STRING = at(0x28)
    ServiceName: UNICODE_STRING = at(0x38)
    PendingIrp: PIRP = at(0x48)
    UniqueId: UNICODE_STRING = at(0x80)
    Level: ULONG = at(0x98)
    CurrentPowerState: POWER_STATE = at(0x9C)
    PowerFlags: LONG = at(0x128)
    State: LONG = at(0x12C)
    PreviousState: LONG = at(0x130)
    StateHistory = array("LONG", 20, 0x134)
    StateHistoryEntry: ULONG = at(0x184)
    CompletionStatus: NTSTATUS = at(0x188)
    Flags: ULONG = at(0x18C)
    UserFlags: ULONG = at(0x190)
    Problem: ULONG = at(0x194)
    ProblemStatus: NTSTATUS = at(0x198)
    ResourceList: PVOID = at(0x1A0)
    ResourceListTranslated: PVOID = at(0x1A8)
    DuplicatePDO: PDEVICE_OBJECT = at(0x1B0)
    ResourceRequirements: PVOID = at(0x1B8)
    InterfaceType: LONG = at(0x1C0)
    BusNumber: ULONG = at(0x1C4)
    BootResources: PVOID = at(0x220)
    CapabilityFlags: ULONG = at(0x230)


class POP_IRP_DATA(Structure, size=0x100):
    Link: LIST_ENTRY = at(0x00)
    Irp: PIRP = at(0x10)
    Pdo: PDEVICE_OBJECT = at(0x18)
    TargetDevice: PDEVICE_OBJECT = at(0x20)
    CurrentDevice: PDEVICE_OBJECT = at(0x28)
    WatchdogStart: ULONGLONG = at(0x30)
    WatchdogTimer: KTIMER = at(0x38)
    WatchdogDpc: KDPC = at(0x78)
    MinorFunction: UCHAR = at(0xB8)
    PowerStateType: LONG = at(0xBC)
    PowerState: POWER_STATE = at(0xC0)
    WatchdogEnabled: UCHAR = at(0xC4)
    IrpSequenceID: LONG = at(0xD4)
    CallerCompletion: PVOID = at(0xD8)
    CallerContext: PVOID = at(0xE0)
    CallerDevice: PDEVICE_OBJECT = at(0xE8)
    SystemWake: UCHAR = at(0xF0)


class TRIAGE_9F_POWER(Structure, size=0x28):
    Signature: USHORT = at(0x00)
    Revision: USHORT = at(0x02)
    IrpList: PVOID = at(0x08)
    ThreadList: PVOID = at(0x10)
    DelayedWorkQueue: PVOID = at(0x18)
    DelayedIoWorkQueue: PVOID = at(0x20)


class DEVPROPKEY(Structure, size=0x14):
    """The name of a property: a GUID and a number (devpropdef.h)."""

    fmtid: GUID = at(0x00)
    pid: ULONG = at(0x10)


if TYPE_CHECKING:
    PDEVPROPKEY = DEVPROPKEY
    PCM_PARTIAL_RESOURCE_DESCRIPTOR = CM_PARTIAL_RESOURCE_DESCRIPTOR
    PCM_RESOURCE_LIST = CM_RESOURCE_LIST
    PIO_RESOURCE_REQUIREMENTS_LIST = IO_RESOURCE_REQUIREMENTS_LIST
    PDEVICE_CAPABILITIES = DEVICE_CAPABILITIES
    PDEVICE_RELATIONS = DEVICE_RELATIONS
    PIO_CONNECT_INTERRUPT_PARAMETERS = IO_CONNECT_INTERRUPT_PARAMETERS
    PIO_DISCONNECT_INTERRUPT_PARAMETERS = IO_DISCONNECT_INTERRUPT_PARAMETERS
    PDEVICE_NODE = DEVICE_NODE
    PPOP_IRP_DATA = POP_IRP_DATA
    PTARGET_DEVICE_CUSTOM_NOTIFICATION = TARGET_DEVICE_CUSTOM_NOTIFICATION
