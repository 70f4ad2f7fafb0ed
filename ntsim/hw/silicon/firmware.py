"""The MSRs that firmware leaves the same way on every processor modelled here.

Memory is write-back everywhere; IA32_FEATURE_CONTROL is locked with VMX on.
"""

FIRMWARE_MSRS = {
    0x03A: 0x5,  # IA32_FEATURE_CONTROL: lock, VMX outside SMX
    0x09B: 0x0,  # IA32_SMM_MONITOR_CTL: not valid
    0x0FE: 0xD0A,  # IA32_MTRRCAP
    0x174: 0x0,
    0x175: 0x0,
    0x176: 0x0,
    0x179: 0x0,  # IA32_MCG_CAP: no banks
    0x17A: 0x0,
    0x1A0: 0x1,  # IA32_MISC_ENABLE: fast strings
    0x1D9: 0x0,  # IA32_DEBUGCTL
    **dict.fromkeys(range(0x200, 0x214), 0x0),  # variable-range MTRRs
    **dict.fromkeys((0x250, 0x258, 0x259, *range(0x268, 0x270)), 0x0606_0606_0606_0606),
    0x277: 0x0007_0406_0007_0406,  # IA32_PAT
    0x2FF: 0xC06,  # IA32_MTRR_DEF_TYPE: enabled, write-back
}
