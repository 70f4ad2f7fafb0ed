"""Where things lie in a process. Windows randomises these addresses; here every process has the
same, so that a report reads the same in every run. Values are plausible ones of build 19041."""

from __future__ import annotations

NTDLL_BASE, NTDLL_SIZE = 0x7FFF_A6A5_0000, 0x1F_5000
KERNELBASE_BASE, KERNELBASE_SIZE = 0x7FFF_A419_0000, 0x2C_8000
KERNEL32_BASE, KERNEL32_SIZE = 0x7FFF_A4B6_0000, 0xB_D000

EXE_BASE = 0x7FF6_359D_0000
"""The first app's image; each further one lies above those before it."""

SERVICE_STUBS = NTDLL_BASE + 0x9_BDB0
"""The stub of system service 0; they follow each other in the order of their numbers."""

STUB_SIZE = 0x20
SYSCALL_RETURN = 0x14
"""Offset in a stub of the instruction behind SYSCALL: the return address of a system call."""

PEB = 0xD5_B390_0000
FIRST_TEB, TEB_SIZE = PEB + 0x1000, 0x2000
FIRST_STACK_BASE, STACK_RESERVE = 0xD5_B3D3_0000, 0x10_0000
"""The first thread's stack base (its highest address) and the bytes reserved below it; the stacks
of further threads follow upwards."""

STACK_IN_USE = 0x818
"""How far below its base a stack pointer stands in a system call."""

HEAP = 0x2AB_07A8_0000
