"""Force pending I/O requests: what a verified driver sends down comes back STATUS_PENDING.

The lower driver is called at once; only the completion of the IRP is put off to a system worker, so
that the sender cannot count on requests being done when IoCallDriver returns. Windows does this to
some calls at random; here it is done to each. Source: WDK "Force Pending I/O Requests".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.vf.hooks import instead

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier


@instead("force-pending", "IofCallDriver")
def call_and_pend(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> int:
    vf.io.waiting[int(Irp)] = Irp._v.CurrentLocation - 1
    IofCallDriver(nt, DeviceObject, Irp)
    return ntstatus.STATUS_PENDING
