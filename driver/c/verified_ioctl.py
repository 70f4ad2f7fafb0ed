"""The control codes of verified.c: what only Driver Verifier sees."""

from ntsim.abi.ioctl import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

NAMES = (
    "write_past_the_end", "read_past_the_end", "write_after_free", "paged_pool_at_dispatch",
    "raise_in_pageable_code", "pageable_data_at_dispatch", "correct",
)  # fmt: skip
CODES = {
    name: CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + number, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for number, name in enumerate(NAMES)
}
