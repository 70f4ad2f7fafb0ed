"""The VMX instructions, a family a file, each with its checks in the SDM's order.

Every function takes the processor's `VmxState`. It returns VmSucceed, VmFailInvalid or VmFailValid
after setting RFLAGS; in VMX non-root operation it returns WouldExit and changes nothing. #UD and
#GP(0) are raised. Source: SDM 3, "VMX Instruction Reference".
"""
