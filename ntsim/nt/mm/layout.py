"""Where things live in the system's half of the address space.

Windows 10 randomises these regions; here they are fixed, so that a report reads the same in every
run. Values are plausible ones of build 19041.
"""

from __future__ import annotations

NT_BASE = 0xFFFF_F800_4220_0000
NT_SIZE = 0x0104_6000
HAL_BASE = 0xFFFF_F800_4190_0000
DRIVER_IMAGES = 0xFFFF_F800_4770_0000
DRIVER_IMAGES_SIZE = 0x1000_0000
PTE_BASE = 0xFFFF_F680_0000_0000
PROCESSOR_REGION = 0xFFFF_E680_0000_0000
PROCESSOR_REGION_SIZE = 0x0200_0000
KERNEL_STACKS = 0xFFFF_F10F_9E00_0000
KERNEL_STACKS_SIZE = 0x1_0000_0000
NONPAGED_POOL = 0xFFFF_DD07_0000_0000
NONPAGED_POOL_SIZE = 0x4000_0000
PAGED_POOL = 0xFFFF_A40B_0000_0000
PAGED_POOL_SIZE = 0x4000_0000
SYSTEM_PTES = 0xFFFF_9A00_0000_0000
SYSTEM_PTES_SIZE = 0x4000_0000
SYSTEM_CACHE = 0xFFFF_F980_0000_0000
SYSTEM_CACHE_SIZE = 0x100_0000_0000
KUSER_SHARED_DATA_VA = 0xFFFF_F780_0000_0000
KUSER_SHARED_DATA_USER = 0x7FFE_0000

SYSTEM_PML4 = 0x1A_D000
"""Physical address of the System process's PML4, in the range where crash-dump tools look."""

LOWEST_USER = 0x1_0000
HIGHEST_USER = 0x7FFF_FFFE_FFFF
MM_USER_PROBE_ADDRESS = 0x7FFF_FFFF_0000


def is_user_address(va: int) -> bool:
    """Below MmUserProbeAddress; the first 64 KiB count as user addresses too."""
    return va < MM_USER_PROBE_ADDRESS
