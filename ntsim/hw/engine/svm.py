"""AMD's virtual machine control block, as far as the engine uses it.

Source: AMD64 Architecture Programmer's Manual, volume 2, appendix "VMCB Layout" (tables "VMCB
Layout, Control Area" and "... State Save Area") and appendix "SVM Intercept Exit Codes".
"""

import struct

# Control area: byte offsets.
INTERCEPTS = 0x000  # u16 CR reads, u16 CR writes, u16 DR reads, u16 DR writes, u32 exceptions
INTERCEPT_INSTRUCTIONS = 0x00C  # u64, bit n = exit code 0x60 + n
IOPM_BASE = 0x040
MSRPM_BASE = 0x048
ASID = 0x058
TLB_CONTROL = 0x05C
EXIT_INFO_2 = 0x080
NESTED_CONTROL = 0x090
EVENT_INJECTION = 0x0A8  # u32 event, u32 error code
NESTED_CR3 = 0x0B0

# State save area.
SEGMENTS = {"es": 0x400, "cs": 0x410, "ss": 0x420, "ds": 0x430, "fs": 0x440, "gs": 0x450}
GDTR, LDTR, IDTR, TR = 0x460, 0x470, 0x480, 0x490
EFER = 0x4D0
CR4, CR3, CR0, DR7, DR6, RFLAGS, RIP = 0x548, 0x550, 0x558, 0x560, 0x568, 0x570, 0x578
RSP, RAX = 0x5D8, 0x5F8
STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE = 0x600, 0x608, 0x610, 0x618, 0x620
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, CR2 = 0x628, 0x630, 0x638, 0x640

# Exit codes.
READ_CR, WRITE_CR, READ_DR, WRITE_DR, EXCEPTION = 0x00, 0x10, 0x20, 0x30, 0x40
IDTR_READ, GDTR_READ, LDTR_READ, TR_READ = 0x66, 0x67, 0x68, 0x69
IDTR_WRITE, GDTR_WRITE, LDTR_WRITE, TR_WRITE = 0x6A, 0x6B, 0x6C, 0x6D
RDTSC, RDPMC, PUSHF, POPF, CPUID, RSM, IRET, SWINT = 0x6E, 0x6F, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75
INVD, PAUSE, HLT, INVLPG, INVLPGA, IOIO, MSR = 0x76, 0x77, 0x78, 0x79, 0x7A, 0x7B, 0x7C
TASK_SWITCH = 0x7D
SHUTDOWN, VMRUN, RDTSCP, ICEBP, WBINVD, MONITOR, MWAIT = 0x7F, 0x80, 0x87, 0x88, 0x89, 0x8A, 0x8B
CR0_SELECTIVE_WRITE = 0x65
NESTED_PAGE_FAULT = 0x400

# EVENT_INJECTION: valid, type NMI. The library hands it straight to the interrupt hook, so that
# VMRUN loads a world's state and returns without touching any of the world's memory.
INJECT_NMI = 1 << 31 | 2 << 8 | 2

EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE, EFER_SVME = 1 << 0, 1 << 8, 1 << 10, 1 << 11, 1 << 12
MSR_EFER, MSR_VM_HSAVE_PA = 0xC000_0080, 0xC001_0117

STUB = bytes.fromhex("0f01da 0f01d8")
"""VMLOAD (FS, GS, TR, LDTR, system-call registers); VMRUN (the rest). RAX = the block."""

_segment = struct.Struct("<HHIQ")


def pack_segment(selector: int, rights: int, limit: int, base: int) -> bytes:
    """A segment register in the block's layout, from VMX access rights.

    VMX: type, S, DPL, P in bits 7:0, AVL, L, D/B, G in bits 15:12, unusable in bit 16 (SDM 3,
    "Guest Register State"). The block has the upper four in bits 11:8 and no unusable bit: not
    present does it. The DPL of an unusable SS is still the privilege level.
    """
    attributes = rights & 0xFF | rights >> 4 & 0xF00
    if rights & 1 << 16:
        attributes &= 0x60
    return _segment.pack(selector & 0xFFFF, attributes, limit & 0xFFFF_FFFF, base)


def rights_of(flags: int) -> int:
    """VMX access rights of a cached segment (its attributes at their place in a descriptor)."""
    rights = flags >> 8 & 0xF0FF
    return rights if rights & 0x80 else rights | 1 << 16


def msr_bit(index: int) -> int | None:
    """Number of an MSR's read-intercept bit (write: + 1); None: not in the map, always exits."""
    for first, place in ((0, 0), (0xC000_0000, 0x2000), (0xC001_0000, 0x4000)):
        if first <= index < first + 0x2000:
            return (place + index - first) * 2
    return None
