"""Stream file objects: what a file system opens for its own data, so that the cache can hold it.

Source: WDK IoCreateStreamFileObject, IoCreateStreamFileObjectLite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.nt.exports import export
from ntsim.nt.io.file import iop_close_handle, iop_new_file
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PFILE_OBJECT
    from ntsim.nt.kernel import Kernel


def iop_create_stream(nt: Kernel, file: PFILE_OBJECT, device: PDEVICE_OBJECT) -> PFILE_OBJECT:
    """A file object for the device of `file`, or for `device`; too little memory is raised."""
    device = file.DeviceObject if file else device
    made: PFILE_OBJECT = iop_new_file(nt, device, "", 0, 0, 0)
    if not made:
        code = ntstatus.STATUS_INSUFFICIENT_RESOURCES
        raise StructuredException(code, reason="no memory for a stream file object")
    device._v.ReferenceCount += 1
    made._v.Vpb = device._v.Vpb
    made._v.Flags |= c.FO_STREAM_FILE
    return made


@export(irql="<= APC")
def IoCreateStreamFileObject(
    nt: Kernel, FileObject: PFILE_OBJECT, DeviceObject: PDEVICE_OBJECT
) -> PFILE_OBJECT:
    """A stream file object, of which a handle is opened and closed: the driver gets IRP_MJ_CLEANUP.

    IRP_MJ_CLOSE follows the last ObDereferenceObject. Source: WDK IoCreateStreamFileObject.
    """
    made = iop_create_stream(nt, FileObject, DeviceObject)
    made._v.Flags |= c.FO_HANDLE_CREATED
    iop_close_handle(nt, int(made), nt.ps.current_process(), True)
    return made


@export(irql="<= APC")
def IoCreateStreamFileObjectLite(
    nt: Kernel, FileObject: PFILE_OBJECT, DeviceObject: PDEVICE_OBJECT
) -> PFILE_OBJECT:
    """The same without a handle, so without IRP_MJ_CLEANUP. Source: WDK."""
    return iop_create_stream(nt, FileObject, DeviceObject)
