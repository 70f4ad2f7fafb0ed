"""The integer types of the Windows headers (basetsd.h, ntdef.h, wdm.h).

At run time each is a `Scalar`; for the type checker each is `int`, because that is what reading a
field or passing an argument gives.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from ntsim.abi import types

_WIDTHS: dict[object, str] = {
    ctypes.c_int8: "CHAR CCHAR INT8",
    ctypes.c_uint8: "UCHAR BYTE UINT8 BOOLEAN KIRQL KPROCESSOR_MODE",
    ctypes.c_int16: "SHORT CSHORT INT16",
    ctypes.c_uint16: "USHORT UINT16 WORD WCHAR",
    ctypes.c_int32: "LONG INT INT32 BOOL KPRIORITY",
    ctypes.c_uint32: (
        "ULONG UINT UINT32 DWORD ULONG32 NTSTATUS ACCESS_MASK DEVICE_TYPE POOL_TYPE EVENT_TYPE "
        "TIMER_TYPE WAIT_TYPE KWAIT_REASON WORK_QUEUE_TYPE KDPC_IMPORTANCE MEMORY_CACHING_TYPE "
        "LOCK_OPERATION MM_PAGE_PRIORITY SECURITY_IMPERSONATION_LEVEL IO_PRIORITY_HINT "
        "DEVICE_POWER_STATE SYSTEM_POWER_STATE POWER_STATE_TYPE DEVICE_RELATION_TYPE LOGICAL"
    ),
    ctypes.c_int64: "LONGLONG INT64 LONG64 LONG_PTR INT_PTR SSIZE_T",
    ctypes.c_uint64: (
        "ULONGLONG UINT64 ULONG64 DWORD64 QWORD UINT_PTR SIZE_T HANDLE KSPIN_LOCK KAFFINITY "
        "PFN_NUMBER POOL_FLAGS"
    ),
}

for _ctype, _names in _WIDTHS.items():
    for _name in _names.split():
        types.Scalar(_name, _ctype)

_ROUTINES = """
PDRIVER_INITIALIZE PDRIVER_DISPATCH PDRIVER_UNLOAD PDRIVER_STARTIO PDRIVER_ADD_DEVICE PDRIVER_CANCEL
PDRIVER_CONTROL PDRIVER_LIST_CONTROL PIO_COMPLETION_ROUTINE PIO_WORKITEM_ROUTINE
PIO_WORKITEM_ROUTINE_EX PIO_DPC_ROUTINE
PIO_TIMER_ROUTINE PKDEFERRED_ROUTINE PKSTART_ROUTINE PWORKER_THREAD_ROUTINE PKIPI_BROADCAST_WORKER
PKNORMAL_ROUTINE PKKERNEL_ROUTINE PKRUNDOWN_ROUTINE PKSERVICE_ROUTINE PKSYNCHRONIZE_ROUTINE
PIO_CSQ_INSERT_IRP PIO_CSQ_REMOVE_IRP PIO_CSQ_PEEK_NEXT_IRP PIO_CSQ_ACQUIRE_LOCK
PIO_CSQ_RELEASE_LOCK PIO_CSQ_COMPLETE_CANCELED_IRP PIO_CSQ_INSERT_IRP_EX PIO_APC_ROUTINE
PBUGCHECK_CALLBACK_ROUTINE PEXPAND_STACK_CALLOUT
"""

for _name in _ROUTINES.split():
    types.Scalar(_name, ctypes.c_uint64)

for _name in "PCWSTR PWSTR PCWCH PWCH".split():
    types.REGISTRY[_name] = types.PointerType(types.REGISTRY["WCHAR"])

for _name in "PCSTR PSTR PCCH PCSZ".split():
    types.REGISTRY[_name] = types.PointerType(types.REGISTRY["CHAR"])

for _name in (
    "CHAR UCHAR SHORT USHORT LONG ULONG LONGLONG ULONGLONG BOOLEAN HANDLE SIZE_T ULONG_PTR "
    "NTSTATUS ACCESS_MASK KIRQL KAFFINITY KSPIN_LOCK PVOID"
).split():
    types.REGISTRY["P" + _name] = types.PointerType(types.REGISTRY[_name])

if TYPE_CHECKING:
    BOOLEAN = int
    CHAR = int
    CCHAR = int
    UCHAR = int
    BYTE = int
    KIRQL = int
    KPROCESSOR_MODE = int
    SHORT = int
    CSHORT = int
    USHORT = int
    WCHAR = int
    LONG = int
    INT = int
    ULONG = int
    DWORD = int
    NTSTATUS = int
    ACCESS_MASK = int
    DEVICE_TYPE = int
    POOL_TYPE = int
    EVENT_TYPE = int
    TIMER_TYPE = int
    WAIT_TYPE = int
    KWAIT_REASON = int
    WORK_QUEUE_TYPE = int
    KDPC_IMPORTANCE = int
    MEMORY_CACHING_TYPE = int
    SECURITY_IMPERSONATION_LEVEL = int
    LOCK_OPERATION = int
    KPRIORITY = int
    MM_PAGE_PRIORITY = int
    LOGICAL = int
    LONGLONG = int
    ULONGLONG = int
    ULONG64 = int
    LONG_PTR = int
    ULONG_PTR = int
    SIZE_T = int
    HANDLE = int
    PVOID = int
    KSPIN_LOCK = int
    KAFFINITY = int
    PFN_NUMBER = int
    POOL_FLAGS = int
    DEVICE_POWER_STATE = int
    DEVICE_RELATION_TYPE = int
    POWER_STATE_TYPE = int
    PDRIVER_INITIALIZE = int
    PDRIVER_DISPATCH = int
    PDRIVER_UNLOAD = int
    PDRIVER_STARTIO = int
    PDRIVER_ADD_DEVICE = int
    PDRIVER_CANCEL = int
    PDRIVER_CONTROL = int
    PDRIVER_LIST_CONTROL = int
    PIO_COMPLETION_ROUTINE = int
    PIO_WORKITEM_ROUTINE = int
    PIO_WORKITEM_ROUTINE_EX = int
    PKDEFERRED_ROUTINE = int
    PKSTART_ROUTINE = int
    PWORKER_THREAD_ROUTINE = int
    PKIPI_BROADCAST_WORKER = int
    PIO_TIMER_ROUTINE = int
    PIO_DPC_ROUTINE = int
    PEXPAND_STACK_CALLOUT = int
    PIO_APC_ROUTINE = int
    PKNORMAL_ROUTINE = int
    PKKERNEL_ROUTINE = int
    PKRUNDOWN_ROUTINE = int
    PKSERVICE_ROUTINE = int
    PIO_CSQ_INSERT_IRP = int
    PIO_CSQ_REMOVE_IRP = int
    PIO_CSQ_PEEK_NEXT_IRP = int
    PIO_CSQ_ACQUIRE_LOCK = int
    PIO_CSQ_RELEASE_LOCK = int
    PIO_CSQ_COMPLETE_CANCELED_IRP = int
    PCWSTR = int
    PWSTR = int
    PCSTR = int
    PSTR = int
    PWCH = int
    PCHAR = int
    PUCHAR = int
    PULONG = int
    PLONG = int
    PSIZE_T = int
    PHANDLE = int
    PIO_CSQ_INSERT_IRP_EX = int
    PKSYNCHRONIZE_ROUTINE = int
    PBUGCHECK_CALLBACK_ROUTINE = int
    PBOOLEAN = int
    PKIRQL = int
    PPVOID = int
    PUSHORT = int
    PULONGLONG = int
    PLONGLONG = int
    PULONG_PTR = int
    PNTSTATUS = int
    PACCESS_MASK = int
    PKAFFINITY = int
    PKSPIN_LOCK = int
    UINT8 = int
    UINT16 = int
    UINT32 = int
    UINT64 = int
    INT32 = int
    INT64 = int
    BOOL = int
    VOID = None
else:
    globals().update(types.REGISTRY)

PCWSTR_TYPES = ("PCWSTR", "PWSTR", "PCWCH", "PWCHAR")
PCSTR_TYPES = ("PCSTR", "PSTR", "PCCH", "PCSZ")
