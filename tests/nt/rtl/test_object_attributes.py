"""InitializeObjectAttributes. Source: WDK InitializeObjectAttributes."""

from ntsim.wdm import *


def test_every_field_is_filled_in(value_of) -> None:
    def body() -> list:
        attributes, name = OBJECT_ATTRIBUTES(), UNICODE_STRING("\\Device")
        write_bytes(attributes, b"\xff" * OBJECT_ATTRIBUTES.size)
        InitializeObjectAttributes(attributes, name, OBJ_KERNEL_HANDLE, 0x44, NULL)
        return [
            attributes.Length, attributes.RootDirectory, attributes.Attributes,
            attributes.ObjectName == name, attributes.SecurityDescriptor,
            attributes.SecurityQualityOfService,
        ]  # fmt: skip

    assert value_of(body) == [0x30, 0x44, 0x200, True, 0, 0]
