"""The four transfer methods, one routine each; after the tutorial and Microsoft's sioctl sample.

    method      the app's input is at                  the app's output buffer is at
    BUFFERED    SystemBuffer, a copy                   SystemBuffer; Information bytes go back
    IN_DIRECT   SystemBuffer, a copy                   MdlAddress: locked pages, to read from
    OUT_DIRECT  SystemBuffer, a copy                   MdlAddress: locked pages, to write to
    NEITHER     Type3InputBuffer, as the app gave it   UserBuffer, as the app gave it

Compare: the tutorial copies as many bytes out of its 38-byte text as the app's buffer is long; here
no more than there are. It passes what the user sent to DbgPrint as the format, where a % is not
harmless, and on one failure path an NTSTATUS; here a format is always the driver's own.
"""

from hypervisor.ioctl import *

from ntsim.wdm import *

Data = b"This String is from Device Driver !!!\0"


def DrvIoctlDispatcher(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    IrpStack = IoGetCurrentIrpStackLocation(Irp)
    Request = IrpStack.Parameters.DeviceIoControl
    Irp.IoStatus.Information = 0
    Method = METHODS.get(Request.IoControlCode)
    if Method is None:
        NtStatus = STATUS_INVALID_DEVICE_REQUEST
    elif not Request.InputBufferLength or not Request.OutputBufferLength:
        NtStatus = STATUS_INVALID_PARAMETER
    else:
        PrintIrpInfo(Irp, Request)
        NtStatus = Method(Irp, Request)
    Irp.IoStatus.Status = NtStatus
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return NtStatus


def SioctlMethodBuffered(Irp, Request) -> NTSTATUS:
    """Input and output share one buffer: read before writing."""
    DbgPrint("Called IOCTL_SIOCTL_METHOD_BUFFERED\n")
    Buffer = Irp.AssociatedIrp.SystemBuffer
    PrintChars("\tData from User :", Buffer, Request.InputBufferLength)
    Irp.IoStatus.Information = WriteAnswer(Buffer, Request.OutputBufferLength)
    return STATUS_SUCCESS


def SioctlMethodInDirect(Irp, Request) -> NTSTATUS:
    """Both buffers bring data: the first as a copy, the second, the large one, as locked pages."""
    DbgPrint("Called IOCTL_SIOCTL_METHOD_IN_DIRECT\n")
    PrintChars(
        "\tData from User in InputBuffer: ",
        Irp.AssociatedIrp.SystemBuffer,
        Request.InputBufferLength,
    )
    Buffer = MapMdl(Irp.MdlAddress)
    if Buffer == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    PrintChars("\tData from User in OutputBuffer: ", Buffer, Request.OutputBufferLength)
    Irp.IoStatus.Information = MmGetMdlByteCount(Irp.MdlAddress)
    return STATUS_SUCCESS


def SioctlMethodOutDirect(Irp, Request) -> NTSTATUS:
    """The answer goes into the app's own pages; nothing is copied when the request completes."""
    DbgPrint("Called IOCTL_SIOCTL_METHOD_OUT_DIRECT\n")
    PrintChars("\tData from User : ", Irp.AssociatedIrp.SystemBuffer, Request.InputBufferLength)
    Buffer = MapMdl(Irp.MdlAddress)
    if Buffer == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    Irp.IoStatus.Information = WriteAnswer(Buffer, Request.OutputBufferLength)
    return STATUS_SUCCESS


def SioctlMethodNeither(Irp, Request) -> NTSTATUS:
    """Raw user addresses: valid only in the caller's context, and only as long as it keeps them so.

    Probing says that an address is the user's; another thread may free it right after. So every
    access is guarded, or, as for the output here, the pages are locked first.
    """
    DbgPrint("Called IOCTL_SIOCTL_METHOD_NEITHER\n")
    try:
        ProbeForRead(Request.Type3InputBuffer, Request.InputBufferLength, 1)
        PrintChars("\tData from User :", Request.Type3InputBuffer, Request.InputBufferLength)
    except StructuredException as e:
        DbgPrint("Exception while accessing InBuf 0X%08X in METHOD_NEITHER\n", e.ExceptionCode)
        return e.ExceptionCode
    return AnswerThroughMdl(Irp, Request.OutputBufferLength)


def AnswerThroughMdl(Irp, Length) -> NTSTATUS:
    """Describe, lock and map the app's output buffer, write to it, and let go of it again."""
    Mdl = IoAllocateMdl(Irp.UserBuffer, Length, FALSE, TRUE, NULL)
    if Mdl == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    try:
        MmProbeAndLockPages(Mdl, UserMode, IoWriteAccess)
    except StructuredException as e:
        DbgPrint("Exception while locking OutBuf 0X%08X in METHOD_NEITHER\n", e.ExceptionCode)
        IoFreeMdl(Mdl)
        return e.ExceptionCode
    Buffer = MapMdl(Mdl)
    if Buffer != NULL:
        Irp.IoStatus.Information = WriteAnswer(Buffer, Length)
    MmUnlockPages(Mdl)
    IoFreeMdl(Mdl)
    return STATUS_INSUFFICIENT_RESOURCES if Buffer == NULL else STATUS_SUCCESS


def MapMdl(Mdl) -> PVOID:
    """A kernel address of the pages of an MDL, or NULL; it lasts until they are unlocked."""
    return MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute)


def WriteAnswer(Buffer, Length) -> ULONG:
    """As much of the driver's text as fits; returns how much that is, in bytes."""
    Answer = Data[:Length]
    write_bytes(Buffer, Answer)
    PrintChars("\tData to User : ", Buffer, len(Answer))
    return len(Answer)


def PrintChars(Label, Buffer, Count) -> None:
    """Print what may not be text, nor end in NUL: a dot for each byte that is not printable."""
    Text = "".join(chr(c) if 31 < c < 127 else "." for c in read_bytes(Buffer, Count))
    DbgPrint("%s%s\n", Label, Text)


def PrintIrpInfo(Irp, Request) -> None:
    DbgPrint("\tIrp->AssociatedIrp.SystemBuffer = 0x%p\n", Irp.AssociatedIrp.SystemBuffer)
    DbgPrint("\tIrp->UserBuffer = 0x%p\n", Irp.UserBuffer)
    DbgPrint("\tDeviceIoControl.Type3InputBuffer = 0x%p\n", Request.Type3InputBuffer)
    DbgPrint("\tDeviceIoControl.InputBufferLength = %d\n", Request.InputBufferLength)
    DbgPrint("\tDeviceIoControl.OutputBufferLength = %d\n", Request.OutputBufferLength)


METHODS = {
    IOCTL_SIOCTL_METHOD_BUFFERED: SioctlMethodBuffered,
    IOCTL_SIOCTL_METHOD_IN_DIRECT: SioctlMethodInDirect,
    IOCTL_SIOCTL_METHOD_OUT_DIRECT: SioctlMethodOutDirect,
    IOCTL_SIOCTL_METHOD_NEITHER: SioctlMethodNeither,
}
