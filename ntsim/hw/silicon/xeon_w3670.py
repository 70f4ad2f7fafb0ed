"""Intel Xeon W3670: family 6, model 2CH, Westmere (Gulftown), 6 cores, 12 threads.

The first generation with unrestricted guests. No VM functions, no VMCS shadowing, no INVPCID, no
EPT accessed and dirty flags; exit-information fields are read-only (IA32_VMX_MISC[29] is 0).

Source: InstLatx64/InstLatx64, GenuineIntel/GenuineIntel00206C2_Gulftown_01_CPUID.txt.
"""

from ntsim.hw.silicon.firmware import FIRMWARE_MSRS
from ntsim.hw.silicon.processor import Silicon

XEON_W3670 = Silicon(
    name="Xeon-W3670",
    brand="Intel(R) Xeon(R) CPU           W3670  @ 3.20GHz",
    source="InstLatx64 GenuineIntel00206C2_Gulftown_01_CPUID.txt",
    signature=0x000206C2,
    physical_address_bits=36,
    tsc_hz=3_200_000_000,
    highest_basic_leaf=0xB,
    features={
        "CPUID.1:ECX": 0x029E_E3FF,
        "CPUID.1:EDX": 0xBFEB_FBFF,
        "CPUID.80000001H:ECX": 0x1,  # LAHF
        "CPUID.80000001H:EDX": 0x2C10_0800,
    },
    leaves={0x02: (0x5503_5A01, 0x00F0_B2FF, 0, 0x00CA_0000)},
    # 32 KiB data, 32 KiB code, 256 KiB, all a core's; 12 MiB the package's
    caches=(
        (0x121, False, 0x01C0_003F, 0x3F, 0),
        (0x122, False, 0x00C0_003F, 0x7F, 0),
        (0x143, False, 0x01C0_003F, 0x1FF, 0),
        (0x163, True, 0x03C0_003F, 0x2FFF, 2),
    ),
    performance_monitoring=(0x0730_0403, 0x4, 0, 0x603),
    capability_msrs={
        0x480: 0x00DA_0400_0000_000F,
        0x481: 0x0000_007F_0000_0016,
        0x482: 0xFFF9_FFFE_0401_E172,
        0x483: 0x007F_FFFF_0003_6DFF,
        0x484: 0x0000_FFFF_0000_11FF,
        0x485: 0x0004_01E7,
        0x486: 0x8000_0021,
        0x487: 0xFFFF_FFFF,
        0x488: 0x2000,
        0x489: 0x0002_67FF,
        0x48A: 0x2A,
        0x48B: 0x0000_04FF_0000_0000,
        0x48C: 0x0000_0F01_0613_4141,
        0x48D: 0x0000_007F_0000_0016,
        0x48E: 0xFFF9_FFFE_0400_6172,
        0x48F: 0x007F_FFFF_0003_6DFB,
        0x490: 0x0000_FFFF_0000_11FB,
    },
    firmware_msrs={
        **FIRMWARE_MSRS,
        0x017: 0x0,
        0x08B: 0x0000_001F_0000_0000,
        0x0CE: 0x0000_0C00_0401_1803,
    },
)
