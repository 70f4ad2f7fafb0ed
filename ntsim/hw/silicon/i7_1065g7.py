"""Intel Core i7-1065G7: family 6, model 7EH, Ice Lake, 4 cores, 8 threads.

Has what the older ones lack: APIC-register virtualization and posted interrupts, mode-based execute
control, TSC scaling, advanced information of EPT violations. It has no VMCS shadowing.

Source: InstLatx64/InstLatx64, GenuineIntel/GenuineIntel00706E5_IceLakeY_CPUID.txt; IA32_VMX_VMFUNC,
which that dump does not have, is 1 (EPTP switching) as on every processor with VM functions.
"""

from ntsim.hw.silicon.firmware import FIRMWARE_MSRS
from ntsim.hw.silicon.processor import Silicon

I7_1065G7 = Silicon(
    name="i7-1065G7",
    brand="Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz",
    source="InstLatx64 GenuineIntel00706E5_IceLakeY_CPUID.txt",
    signature=0x000706E5,
    physical_address_bits=39,
    tsc_hz=1_497_600_000,
    highest_basic_leaf=0x1B,
    features={
        "CPUID.1:ECX": 0x7FFA_FBBF,
        "CPUID.1:EDX": 0xBFEB_FBFF,
        "CPUID.(7,0):EBX": 0xF2BF_27EF,
        "CPUID.(7,0):ECX": 0x4040_5F4E,
        "CPUID.(7,0):EDX": 0xBC00_0410,
        "CPUID.80000001H:ECX": 0x121,
        "CPUID.80000001H:EDX": 0x2C10_0800,
    },
    leaves={
        0x02: (0x00FE_FF01, 0xF0, 0, 0),
        0x15: (2, 78, 38_400_000, 0),
        0x16: (1500, 3900, 100, 0),
    },
    # 48 KiB data, 32 KiB code, 512 KiB, all a core's; 8 MiB the package's
    caches=(
        (0x121, False, 0x02C0_003F, 0x3F, 0),
        (0x122, False, 0x01C0_003F, 0x3F, 0),
        (0x143, False, 0x01C0_003F, 0x3FF, 0),
        (0x163, True, 0x03C0_003F, 0x1FFF, 6),
    ),
    performance_monitoring=(0x0830_0805, 0, 0xF, 0x8604),
    capability_msrs={
        0x480: 0x00DA_0500_0000_0013,
        0x481: 0x0000_00FF_0000_0016,
        0x482: 0xFFF9_FFFE_0401_E172,
        0x483: 0x037F_FFFF_0003_6DFF,
        0x484: 0x0006_FFFF_0000_11FF,
        0x485: 0x7004_C1E7,
        0x486: 0x8000_0021,
        0x487: 0xFFFF_FFFF,
        0x488: 0x2000,
        0x489: 0x0077_2FFF,
        0x48A: 0x2E,
        0x48B: 0x335F_BFFF_0000_0000,
        0x48C: 0x0000_0F01_0673_4141,
        0x48D: 0x0000_00FF_0000_0016,
        0x48E: 0xFFF9_FFFE_0400_6172,
        0x48F: 0x037F_FFFF_0003_6DFB,
        0x490: 0x0006_FFFF_0000_11FB,
        0x491: 0x1,
    },
    firmware_msrs={
        **FIRMWARE_MSRS,
        0x017: 0x001C_0000_0000_0000,
        0x08B: 0x0000_002E_0000_0000,
        0x0CE: 0x0004_043C_F181_0F00,
    },
)
