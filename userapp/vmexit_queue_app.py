"""The app of driver/vmexit_queue.py: a guest asks about two processes, the answers arrive later.

The guest runs to its HLT at once; each VMCALL has only been queued by then. So the app asks for
answers until there are two. With driver/vmexit_queue_wrong.py the first VMCALL stops the machine.
"""

import sys

from driver.vmexit_queue_ioctl import VMQ_DESCRIBE_PROCESS, VMQ_GET_ANSWERS, VMQ_RUN
from ntsim.win32 import *

SYSTEM_PROCESS_ID = 4
TRIES = 100


def describe(process_id: int) -> bytes:
    """Guest code: mov ecx, VMQ_DESCRIBE_PROCESS; mov edx, process_id; vmcall."""
    command = VMQ_DESCRIBE_PROCESS.to_bytes(4, "little")
    return b"\xb9" + command + b"\xba" + process_id.to_bytes(4, "little") + b"\x0f\x01\xc1"


def wait_for_answers(device, count: int) -> list[str]:
    """The first `count` lines, or fewer if they do not come within a second."""
    for _ in range(TRIES):
        lines = DeviceIoControl(device, VMQ_GET_ANSWERS, b"", 0x1000).decode().splitlines()
        if len(lines) >= count:
            return lines[:count]
        Sleep(10)
    return lines


def main() -> int:
    device = CreateFile(
        r"\\.\VmExitQueue", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None
    )
    guest_code = describe(GetCurrentProcessId()) + describe(SYSTEM_PROCESS_ID) + b"\xf4"  # hlt
    print("running the guest")
    DeviceIoControl(device, VMQ_RUN, guest_code, 0)
    print("the guest has halted; waiting for the answers")
    answers = wait_for_answers(device, 2)
    for answer in answers:
        print(" ", answer)
    CloseHandle(device)
    return 0 if len(answers) == 2 else 1


if __name__ == "__main__":
    sys.exit(main())
