"""What eh.py, eh_fixed.py and ehapp.py share: two control codes and what the second returns.

EH_RUN runs the virtual processor of the file handle until its guest does something that the app has
to see. The first call brings the guest's code as input. It is METHOD_IN_DIRECT, so the input is in
SystemBuffer and nothing is copied back: EH_GET_EXIT, METHOD_BUFFERED, tells what happened.
`ntsim ioctl 0x22e001` takes a code apart.
"""

from ntsim.win32 import (
    CTL_CODE,
    FILE_DEVICE_UNKNOWN,
    FILE_READ_ACCESS,
    FILE_WRITE_ACCESS,
    METHOD_BUFFERED,
    METHOD_IN_DIRECT,
)

EH_RUN = CTL_CODE(
    FILE_DEVICE_UNKNOWN, 0x800, METHOD_IN_DIRECT, FILE_READ_ACCESS | FILE_WRITE_ACCESS
)  # 0x0022E001
EH_GET_EXIT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS)

# struct EH_EXIT: Reason, Offset, Port, Size, In, Value, Rax (eh_vcpu.py has the structure).
EH_EXIT_FORMAT = "<IIHBBIQ"

EH_EXIT_IO = 30  # basic exit reasons, SDM 3, "VMX Basic Exit Reasons"
EH_EXIT_HLT = 12
