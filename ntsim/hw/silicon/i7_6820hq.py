"""Intel Core i7-6820HQ: family 6, model 5EH, Skylake, 4 cores, 8 threads. The default.

The capability MSRs are those of an i7-6700K, the same die family (VirtualBox, src/VBox/VMM/VMMR3/
cpus/Intel_Core_i7_6700K.h; the same in InstLatx64/InstLatx64,
GenuineIntel00506E3_Skylake_02_CPUID.txt); no dump of a 6820HQ was found. Its CR4_FIXED1 would also
have SMXE (bit 14), as that of an i5-6400T (InstLatx64); SMX is masked.
"""

from ntsim.hw.silicon.firmware import FIRMWARE_MSRS
from ntsim.hw.silicon.processor import Silicon

I7_6820HQ = Silicon(
    name="i7-6820HQ",
    brand="Intel(R) Core(TM) i7-6820HQ CPU @ 2.70GHz",
    source="VirtualBox Intel_Core_i7_6700K.h",
    signature=0x000506E3,
    physical_address_bits=39,
    tsc_hz=2_700_000_000,
    highest_basic_leaf=0x16,
    features={
        "CPUID.1:ECX": 0x7FFA_FBFF,
        "CPUID.1:EDX": 0xBFEB_FBFF,
        "CPUID.(7,0):EBX": 0x029C_6FBF,
        "CPUID.80000001H:ECX": 0x121,  # LAHF, LZCNT, PREFETCHW
        "CPUID.80000001H:EDX": 0x2C10_0800,  # SYSCALL, NX, 1-GByte pages, RDTSCP, long mode
    },
    leaves={
        0x02: (0x7603_6301, 0x00F0_B5FF, 0, 0x00C3_0000),
        0x15: (2, 225, 0, 0),  # TSC = 24 MHz crystal * 225 / 2
        0x16: (2700, 3600, 100, 0),
    },
    # 32 KiB data, 32 KiB code, 256 KiB, all a core's; 8 MiB the package's
    caches=(
        (0x121, False, 0x01C0_003F, 0x3F, 0),
        (0x122, False, 0x01C0_003F, 0x3F, 0),
        (0x143, False, 0x00C0_003F, 0x3FF, 0),
        (0x163, True, 0x03C0_003F, 0x1FFF, 6),
    ),
    performance_monitoring=(0x0730_0404, 0, 0, 0x603),
    capability_msrs={
        0x480: 0x00DA_0400_0000_0004,
        0x481: 0x0000_007F_0000_0016,
        0x482: 0xFFF9_FFFE_0401_E172,
        0x483: 0x01FF_FFFF_0003_6DFF,
        0x484: 0x0003_FFFF_0000_11FF,
        0x485: 0x7004_C1E7,
        0x486: 0x8000_0021,
        0x487: 0xFFFF_FFFF,
        0x488: 0x2000,
        0x489: 0x0037_67FF,
        0x48A: 0x2E,
        0x48B: 0x001F_FCFF_0000_0000,
        0x48C: 0x0000_0F01_0633_4141,
        0x48D: 0x0000_007F_0000_0016,
        0x48E: 0xFFF9_FFFE_0400_6172,
        0x48F: 0x01FF_FFFF_0003_6DFB,
        0x490: 0x0003_FFFF_0000_11FB,
        0x491: 0x1,
    },
    firmware_msrs={
        **FIRMWARE_MSRS,
        0x017: 0x0010_0000_0000_0000,  # IA32_PLATFORM_ID
        0x08B: 0x0000_00F0_0000_0000,  # IA32_BIOS_SIGN_ID
        0x0CE: 0x0008_0838_F101_1B00,  # MSR_PLATFORM_INFO: 27 times 100 MHz
    },
)
