"""Descriptors of objects: WDK ZwSetSecurityObject, ZwQuerySecurityObject; ntifs.h."""

from ntsim.wdm import *

OWNER, DACL, WRITE_DAC, READ_CONTROL = 1, 4, 1 << 18, 1 << 17
TAG = 0x74736554


def block(size):
    return ExAllocatePoolWithTag(NonPagedPool, size, TAG)


def only_system():
    """An absolute descriptor whose DACL gives LocalSystem everything, and nobody else anything."""
    acl, made = block(64), block(SECURITY_DESCRIPTOR.size)
    RtlCreateAcl(acl, 64, 2)
    RtlAddAccessAllowedAce(acl, 2, GENERIC_ALL, SeExports.SeLocalSystemSid)
    RtlCreateSecurityDescriptor(made, 1)
    RtlSetDaclSecurityDescriptor(made, TRUE, acl, FALSE)
    return made


def queried(handle, which):
    room = block(256)
    status, needed = ZwQuerySecurityObject(handle, which, room, 256)
    return status, needed, room


def test_a_devices_dacl_is_replaced_and_its_owner_stays(run_driver) -> None:
    def work():
        _, handle = ObOpenObjectByPointer(
            run.device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC | READ_CONTROL, NULL, KernelMode
        )
        before = queried(handle, OWNER)
        set_ = ZwSetSecurityObject(handle, DACL, only_system())
        status, needed, room = queried(handle, OWNER | DACL)
        owner = RtlGetOwnerSecurityDescriptor(room, NULL)[1]
        dacl = RtlGetDaclSecurityDescriptor(room, NULL)[2]
        same = RtlEqualSid(owner, RtlGetOwnerSecurityDescriptor(before[2], NULL)[1])
        small = ZwQuerySecurityObject(handle, DACL, room, 4)
        count = cast(dacl, POINTER(ACL))[0].AceCount
        ZwClose(handle)
        return set_, status, bool(same), count, small[0] == STATUS_BUFFER_TOO_SMALL, needed > 20

    class run:
        device = None

    def entry(DriverObject):
        _, run.device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        return work()

    assert run_driver(entry).value == (STATUS_SUCCESS, STATUS_SUCCESS, True, 1, True, True)


def test_an_object_without_a_descriptor_has_an_empty_one_until_it_is_given_one(value_of) -> None:
    def work():
        _, handle = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        empty = queried(handle, DACL)[:2]
        set_ = ZwSetSecurityObject(handle, DACL, only_system())
        after = queried(handle, DACL)[1]
        ZwClose(handle)
        return empty, set_, after

    assert value_of(work) == ((STATUS_SUCCESS, 20), STATUS_SUCCESS, 20 + 64)


def test_rights_of_the_handle_are_asked_for(value_of) -> None:
    def work():
        _, handle = ZwCreateEvent(1, NULL, NotificationEvent, FALSE)
        found = ZwSetSecurityObject(handle, DACL, only_system()), queried(handle, DACL)[0]
        ZwClose(handle)
        return found

    assert value_of(work) == (STATUS_ACCESS_DENIED, STATUS_ACCESS_DENIED)


def test_a_captured_descriptor_is_a_copy_unless_kernel_mode_says_otherwise(value_of) -> None:
    def work():
        original = only_system()
        _, same = SeCaptureSecurityDescriptor(original, KernelMode, NonPagedPool, FALSE)
        status, copy = SeCaptureSecurityDescriptor(original, KernelMode, NonPagedPool, TRUE)
        aces = cast(RtlGetDaclSecurityDescriptor(copy, NULL)[2], POINTER(ACL))[0].AceCount
        SeReleaseSecurityDescriptor(copy, KernelMode, TRUE)
        return int(same) == int(original), status, int(copy) != int(original), aces

    assert value_of(work) == (True, STATUS_SUCCESS, True, 1)
