"""The control codes of mistakes.c: each makes one mistake."""

from ntsim.abi.ioctl import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

NAMES = (
    "raised_irql", "touch_at_dispatch", "invalid_address", "double_free", "double_complete",
    "null_pointer", "corrupt_list", "write_text", "execute_data", "deep_recursion",
    "divide_by_zero", "assertion", "privileged", "critical_region", "forever_at_dispatch",
)  # fmt: skip
CODES = {
    name: CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + number, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for number, name in enumerate(NAMES)
}
