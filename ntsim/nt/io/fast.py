"""Fast I/O for device control: a driver answers in the caller's context, without an IRP.

FastIoDeviceControl gets the caller's own buffers, whatever the transfer method, and returns FALSE
to have the IRP built after all. Source: WDK FAST_IO_DISPATCH, PFAST_IO_DEVICE_CONTROL; Windows
Internals 7, part 1, chapter 6, "Fast I/O"; ReactOS IopDeviceFsIoControl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.io import FAST_IO_DISPATCH, IO_STATUS_BLOCK
from ntsim.nt.ke.objects import KeSetEvent
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

IN_DIRECT, NEITHER = 1, 3
_REACH = FAST_IO_DISPATCH.offset_of("FastIoDeviceControl") + 8
"""Least SizeOfFastIoDispatch of a table that has the routine."""


def iop_fast_control_routine(nt: Kernel, device: Any) -> int:
    """Address of the FastIoDeviceControl of a device's driver, 0 if it has none."""
    table = nt.io.driver_views[device._v.DriverObject].FastIoDispatch
    if not table:
        return 0
    v = FAST_IO_DISPATCH.at(nt.mmu, table)._v
    return int(v.FastIoDeviceControl) if v.SizeOfFastIoDispatch >= _REACH else 0


def iop_fast_control(
    nt: Kernel, routine: int, file: Any, device: Any, event: Any, status_block: int, code: int,
    source: int, size: int, target: int, room: int,
) -> int | None:  # fmt: skip
    """The status of a request that the driver answered at once; None: it wants an IRP.

    The output buffer is probed for every method but METHOD_NEITHER; nothing else is.
    """
    if nt.thread.v.PreviousMode:
        try:
            if target and room and code & 3 != NEITHER:
                mm_probe(nt, target, room, 1)
        except StructuredException as error:
            return int(error.ExceptionCode)
    block = nt.allocate_pool(IO_STATUS_BLOCK.size, "IoSb")
    nt.mmu.write(block, bytes(IO_STATUS_BLOCK.size))
    arguments = (file, 1, source, size, target, room, code, block, device)
    if nt.verifier is None:
        done = nt.call(routine, *arguments) & 0xFF
    else:
        done = nt.verifier.io.fast_io(routine, arguments) & 0xFF
    answer = IO_STATUS_BLOCK.at(nt.mmu, block)
    status, information = int(answer.Status), int(answer.Information)
    nt.free_pool(block)
    if not done:
        return None
    try:
        made = IO_STATUS_BLOCK.at(nt.mmu, status_block)
        made.Information, made.Status = information, status
    except StructuredException as error:
        status = int(error.ExceptionCode)
    if event is not None:
        KeSetEvent(nt, event, 0, False)
    return status & 0xFFFF_FFFF
