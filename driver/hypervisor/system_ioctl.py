"""What hypervisor_system.py and its apps share. Numbers are 8 bytes each."""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, METHOD_BUFFERED

HV_TYPE = 40001


def _code(function):
    return CTL_CODE(HV_TYPE, 0x900 + function, METHOD_BUFFERED, FILE_ANY_ACCESS)


HV_TRANSLATE = _code(0)  # in: guest-physical address; out: machine address, then entries
HV_PHYSICAL = _code(1)  # in: virtual address of the app; out: physical address
HV_RUN_GUEST = _code(2)  # in: 64-bit code that ends in HLT; out: pairs (exit reason, qualification)
HV_VIRTUALISE = _code(3)  # in: BY_AFFINITY, BY_DPC or BY_IPI
HV_DEVIRTUALISE = _code(4)  # in: the same
HV_WATCH_PAGE = _code(5)  # in: virtual address of the app, WATCH_*; out: hook
HV_WATCH_MSR = _code(6)  # in: register
HV_WATCH_PORT = _code(7)  # in: port
HV_EVENTS = _code(8)  # out: HV_EVENT records; waits until there is one
HV_TOUCH = _code(9)  # the driver reads LSTAR and writes 'A' to COM1, for somebody to see
HV_EXITS = _code(10)  # out: how many exits each processor has had
HV_BAD_WRITE = _code(11)  # the driver writes an address to LSTAR that is none; out: its exception
HV_SECOND = _code(12)  # the driver executes VMXON as another hypervisor would; out: its status
HV_FORGET_PAGE = _code(13)  # in: hook
HV_HIDE_BREAKPOINT = _code(14)  # in: name of a kernel routine, ASCII; out: hook, address

BY_AFFINITY, BY_DPC, BY_IPI = range(3)
WATCH_READ, WATCH_WRITE, WATCH_EXECUTE = 1, 2, 4
NO_ADDRESS = 0xFFFFFFFFFFFFFFFF

# Processor, exit reason; RIP, detail, value, time-stamp counter, how many before it were lost.
HV_EVENT_FORMAT = (4, 4, 8, 8, 8, 8, 8)
HV_EVENT_SIZE = sum(HV_EVENT_FORMAT)
