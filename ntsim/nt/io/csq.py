"""Cancel-safe IRP queues: the driver keeps the IRPs, IoCsqXxx handle the races of cancelling.

An IRP in the queue has a cancel routine of the kernel's. Whoever takes the routine away owns the
IRP: a remover that finds none leaves the IRP to the cancel routine that is under way. The IRP's
DriverContext[3] holds the queue, or the context it was inserted with. The driver's lock is held
around its insert, remove and peek routines, never when CsqCompleteCanceledIrp is called. Source:
WDK IoCsqInitialize, "Cancel-Safe IRP Queues"; csq.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.io import IO_CSQ, IO_CSQ_IRP_CONTEXT, IRP
from ntsim.abi.scalars import (
    NTSTATUS,
    PIO_CSQ_ACQUIRE_LOCK,
    PIO_CSQ_COMPLETE_CANCELED_IRP,
    PIO_CSQ_INSERT_IRP,
    PIO_CSQ_INSERT_IRP_EX,
    PIO_CSQ_PEEK_NEXT_IRP,
    PIO_CSQ_RELEASE_LOCK,
    PIO_CSQ_REMOVE_IRP,
    PVOID,
)
from ntsim.abi.types import REGISTRY, pointer_to
from ntsim.nt.exports import export
from ntsim.nt.io.cancel import IoReleaseCancelSpinLock
from ntsim.nt.io.irp import IoMarkIrpPending, IoSetCancelRoutine

if TYPE_CHECKING:
    from ntsim.abi.io import PIO_CSQ, PIO_CSQ_IRP_CONTEXT, PIRP
    from ntsim.nt.kernel import Kernel

TYPE_CSQ, TYPE_CONTEXT, TYPE_CSQ_EX = 1, 2, 3
CONTEXT_SLOT = IRP.offset_of("Tail.Overlay.DriverContext") + 8 * 3


class Lock:
    """The driver's lock around a `with` block that ends normally.

    CsqAcquireLock stores the IRQL where CsqReleaseLock gets it from: a KIRQL on the kernel stack.
    """

    def __init__(self, nt: Kernel, csq: PIO_CSQ) -> None:
        self.nt, self.csq = nt, csq

    def __enter__(self) -> None:
        nt, csq = self.nt, self.csq
        thread = nt.thread
        storage = thread.storage
        irql = pointer_to(REGISTRY["KIRQL"], nt.mmu, nt.mmu.allocate(1, 8))
        nt.call(csq._v.CsqAcquireLock, csq, irql)
        self.level: int = irql[0]
        thread.storage = storage

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self.nt.call(self.csq._v.CsqReleaseLock, self.csq, self.level)


def iop_csq_cancel_routine(nt: Kernel, DeviceObject: Any, Irp: Any) -> int:
    """The cancel routine of every queued IRP."""
    irp = IRP.at(nt.mmu, int(Irp))
    IoReleaseCancelSpinLock(nt, irp._v.CancelIrql)
    attached = nt.read_pointer(int(irp) + CONTEXT_SLOT)
    context = IO_CSQ_IRP_CONTEXT.at(nt.mmu, attached)
    in_context = context._v.Type == TYPE_CONTEXT
    csq = context.Csq if in_context else IO_CSQ.at(nt.mmu, attached)
    with Lock(nt, csq):
        nt.call(csq._v.CsqRemoveIrp, csq, irp)
        detach(nt, irp, context if in_context else None)
    nt.call(csq._v.CsqCompleteCanceledIrp, csq, irp)
    return 0


def detach(nt: Kernel, irp: Any, context: Any) -> None:
    """The IRP is in no queue any more."""
    if context:
        context._v.Irp = 0
    nt.write_pointer(int(irp) + CONTEXT_SLOT, 0)


def context_of(nt: Kernel, irp: Any) -> Any:
    """The context an IRP was inserted with, None if there was none."""
    context = IO_CSQ_IRP_CONTEXT.at(nt.mmu, nt.read_pointer(int(irp) + CONTEXT_SLOT))
    return context if context._v.Type == TYPE_CONTEXT else None


def initialize(nt: Kernel, csq: PIO_CSQ, kind: int, routines: tuple[int, ...]) -> int:
    """Fill in an IO_CSQ; `routines` in the order of its fields."""
    v = csq._v
    v.Type, v.ReservePointer = kind, 0
    (
        v.CsqInsertIrp,
        v.CsqRemoveIrp,
        v.CsqPeekNextIrp,
        v.CsqAcquireLock,
        v.CsqReleaseLock,
        v.CsqCompleteCanceledIrp,
    ) = map(int, routines)
    return ntstatus.STATUS_SUCCESS


@export(irql="any")
def IoCsqInitialize(
    nt: Kernel,
    Csq: PIO_CSQ,
    CsqInsertIrp: PIO_CSQ_INSERT_IRP,
    CsqRemoveIrp: PIO_CSQ_REMOVE_IRP,
    CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP,
    CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK,
    CsqReleaseLock: PIO_CSQ_RELEASE_LOCK,
    CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS:
    """A queue of the driver's making, by its six routines. Source: WDK IoCsqInitialize."""
    routines = (
        CsqInsertIrp,
        CsqRemoveIrp,
        CsqPeekNextIrp,
        CsqAcquireLock,
        CsqReleaseLock,
        CsqCompleteCanceledIrp,
    )
    return initialize(nt, Csq, TYPE_CSQ, routines)


@export(irql="any")
def IoCsqInitializeEx(
    nt: Kernel,
    Csq: PIO_CSQ,
    CsqInsertIrp: PIO_CSQ_INSERT_IRP_EX,
    CsqRemoveIrp: PIO_CSQ_REMOVE_IRP,
    CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP,
    CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK,
    CsqReleaseLock: PIO_CSQ_RELEASE_LOCK,
    CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS:
    """As IoCsqInitialize; the insert routine gets InsertContext and may refuse. Source: WDK."""
    routines = (
        CsqInsertIrp,
        CsqRemoveIrp,
        CsqPeekNextIrp,
        CsqAcquireLock,
        CsqReleaseLock,
        CsqCompleteCanceledIrp,
    )
    return initialize(nt, Csq, TYPE_CSQ_EX, routines)


@export(irql="<= DISPATCH")
def IoCsqInsertIrp(nt: Kernel, Csq: PIO_CSQ, Irp: PIRP, Context: PIO_CSQ_IRP_CONTEXT) -> None:
    """IoCsqInsertIrpEx without an insert context. Source: WDK IoCsqInsertIrp."""
    IoCsqInsertIrpEx(nt, Csq, Irp, Context, 0)


@export(irql="<= DISPATCH")
def IoCsqInsertIrpEx(
    nt: Kernel, Csq: PIO_CSQ, Irp: PIRP, Context: PIO_CSQ_IRP_CONTEXT, InsertContext: PVOID
) -> NTSTATUS:
    """Queue an IRP and mark it pending; one that is cancelled already is completed at once.

    An insert routine that refuses ends it with its status, the IRP neither queued nor pending.
    Source: WDK IoCsqInsertIrpEx; csq.h.
    """
    attach(nt, Csq, Irp, Context)
    cancelled = False
    with Lock(nt, Csq):
        status = insert(nt, Csq, Irp, InsertContext)
        if not ntstatus.NT_SUCCESS(status):
            detach(nt, Irp, Context)
        else:
            IoMarkIrpPending(nt, Irp)
            IoSetCancelRoutine(nt, Irp, nt.internal_address(iop_csq_cancel_routine))
            cancelled = bool(Irp._v.Cancel and IoSetCancelRoutine(nt, Irp, 0))
            if cancelled:
                nt.call(Csq._v.CsqRemoveIrp, Csq, Irp)
                detach(nt, Irp, Context)
    if cancelled:
        nt.call(Csq._v.CsqCompleteCanceledIrp, Csq, Irp)
    return status


def attach(nt: Kernel, csq: PIO_CSQ, irp: PIRP, context: PIO_CSQ_IRP_CONTEXT) -> None:
    """Remember in the IRP where it is queued."""
    if context:
        v = context._v
        v.Type, v.Irp, v.Csq = TYPE_CONTEXT, int(irp), int(csq)
    nt.write_pointer(int(irp) + CONTEXT_SLOT, int(context) or int(csq))


def insert(nt: Kernel, csq: PIO_CSQ, irp: PIRP, insert_context: int) -> int:
    """Call the driver's insert routine; only an extended one says whether it worked."""
    if csq._v.Type == TYPE_CSQ_EX:
        return nt.call(csq._v.CsqInsertIrp, csq, irp, int(insert_context)) & 0xFFFF_FFFF
    nt.call(csq._v.CsqInsertIrp, csq, irp)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def IoCsqRemoveIrp(nt: Kernel, Csq: PIO_CSQ, Context: PIO_CSQ_IRP_CONTEXT) -> PIRP:
    """Take out the IRP inserted with Context; NULL if it is out already or being cancelled.

    Source: WDK IoCsqRemoveIrp; csq.h.
    """
    found = 0
    with Lock(nt, Csq):
        irp = Context.Irp
        if irp and IoSetCancelRoutine(nt, irp, 0):
            nt.call(Csq._v.CsqRemoveIrp, Csq, irp)
            detach(nt, irp, Context)
            found = int(irp)
    return IRP.at(nt.mmu, found)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoCsqRemoveNextIrp(nt: Kernel, Csq: PIO_CSQ, PeekContext: PVOID) -> PIRP:
    """Take out the first IRP that matches PeekContext and is not being cancelled; NULL if none.

    Source: WDK IoCsqRemoveNextIrp; csq.h.
    """
    with Lock(nt, Csq):
        irp = peek(nt, Csq, 0, PeekContext)
        while irp and not IoSetCancelRoutine(nt, irp, 0):
            irp = peek(nt, Csq, int(irp), PeekContext)
        if irp:
            nt.call(Csq._v.CsqRemoveIrp, Csq, irp)
            detach(nt, irp, context_of(nt, irp))
    return irp  # type: ignore[no-any-return]


def peek(nt: Kernel, csq: PIO_CSQ, after: int, peek_context: int) -> Any:
    """The driver's next matching IRP behind `after` (NULL: from the start)."""
    behind = IRP.at(nt.mmu, after)
    return IRP.at(nt.mmu, nt.call(csq._v.CsqPeekNextIrp, csq, behind, int(peek_context)))
