"""What vmexit_queue.py, vmexit_queue_wrong.py and vmexit_queue_app.py share."""

from ntsim.win32 import (
    CTL_CODE,
    FILE_DEVICE_UNKNOWN,
    FILE_READ_ACCESS,
    FILE_WRITE_ACCESS,
    METHOD_BUFFERED,
)

# Input: the guest's code, 64-bit, ending in HLT. Returns when the guest has halted.
VMQ_RUN = CTL_CODE(
    FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS
)
# Output: the answers so far, one line of text each.
VMQ_GET_ANSWERS = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS)

# A guest asks by VMCALL: RCX is the command, RDX its argument, and RAX an NTSTATUS after it.
VMQ_DESCRIBE_PROCESS = 1  # RDX: a process id
