"""The control codes of misuse.c and misuse.py: each misuses one kind of kernel object."""

from ntsim.abi.ioctl import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

NAMES = (
    "event_at_dispatch", "thread_null", "timer_left_set", "wait_in_dpc", "dereferenced_twice",
    "no_stack_location", "pages_left_locked", "other_tag", "pool_overrun", "mutex_not_owned",
    "own_bugcheck", "null_in_dpc", "level_after_dpc", "detach_unattached", "affinity_of_nobody",
    "cancel_routine_left", "resource_not_owned", "mapping_unlocked",
    "level_after_work", "status_raised", "status_raised_in_dpc", "spin_lock_held",
    "unlocked_twice", "mutex_held_at_end", "region_not_left_at_end", "work_item_queued_twice",
    "thread_left_running", "thread_in_data",
)  # fmt: skip
CODES = {
    name: CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + number, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for number, name in enumerate(NAMES)
}
