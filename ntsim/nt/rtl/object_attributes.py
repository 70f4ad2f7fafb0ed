"""OBJECT_ATTRIBUTES: how an object is named to the routines that create and open one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.rtl import OBJECT_ATTRIBUTES
from ntsim.abi.scalars import HANDLE, PVOID, ULONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


@export(irql="any", inline=True)
def InitializeObjectAttributes(
    nt: Kernel,
    InitializedAttributes: POBJECT_ATTRIBUTES,
    ObjectName: PUNICODE_STRING,
    Attributes: ULONG,
    RootDirectory: HANDLE,
    SecurityDescriptor: PVOID,
) -> None:
    """Fill in every field; no quality of service. Source: WDK InitializeObjectAttributes."""
    v = InitializedAttributes._v
    v.Length, v.RootDirectory, v.Attributes = OBJECT_ATTRIBUTES.size, RootDirectory, Attributes
    v.ObjectName, v.SecurityDescriptor = int(ObjectName), SecurityDescriptor
    v.SecurityQualityOfService = 0
