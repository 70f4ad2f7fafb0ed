"""MSRs and control bits of VT-x.

Sources: SDM 3, "Discovering Support for VMX", "Enabling and Entering VMX Operation"; SDM 4 for the
MSRs.
"""

MSR_IA32_FEATURE_CONTROL = 0x3A
FEATURE_CONTROL_LOCK = 1 << 0
FEATURE_CONTROL_ENABLE_VMXON = 1 << 2  # outside SMX; bit 1 is for inside

MSR_IA32_VMX_BASIC = 0x480
VMX_BASIC_REVISION_IDENTIFIER = 0x7FFFFFFF  # bits 30:0

CR4_VMXE = 1 << 13
CPUID_1_ECX_VMX = 1 << 5
