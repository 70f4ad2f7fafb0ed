"""Keys and values, and the registry's content at boot.

Names compare without case. Data is bytes with a type; `get` and `set` translate to and from Python:
REG_DWORD and REG_QWORD are ints, REG_SZ and REG_EXPAND_SZ text, REG_MULTI_SZ a list of texts, all
else bytes. CurrentControlSet is a link to ControlSet001, followed wherever a path names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ntsim.abi import winnt_constants as c
from ntsim.nt.cm.security import inherited_descriptor, root_descriptor

if TYPE_CHECKING:
    from ntsim.nt.cm.callbacks import Filter
    from ntsim.nt.kernel import Kernel

Content = int | str | bytes | list[str]
"""A value's data in Python."""

_TEXT = (c.REG_SZ, c.REG_EXPAND_SZ)
_CONTROL_SET = "\\Registry\\Machine\\SYSTEM\\ControlSet001"
_VERSION = "\\Registry\\Machine\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
BOOT_CONTENT: dict[str, dict[str, Content]] = {
    f"{_CONTROL_SET}\\Control\\Session Manager\\Debug Print Filter": {"DEFAULT": 0xFFFF_FFFF},
    f"{_CONTROL_SET}\\Control\\Class": {},
    f"{_CONTROL_SET}\\Services": {},
    "\\Registry\\Machine\\HARDWARE\\DEVICEMAP": {},
    _VERSION: {
        "CurrentBuildNumber": "19041",
        "CurrentVersion": "6.3",
        "CurrentMajorVersionNumber": 10,
        "CurrentMinorVersionNumber": 0,
        "ProductName": "Windows 10 Pro",
    },
    "\\Registry\\User\\.Default": {},
}
"""What is there before the kernel starts. The machine is set up for development: DbgPrint shows."""


@dataclass(slots=True)
class Value:
    """A value entry; the default value's name is empty."""

    name: str
    type: int
    data: bytes


@dataclass(slots=True, eq=False)
class Key:
    """A key; `written` is the system time of its last change, `security` its descriptor."""

    name: str
    parent: Key | None
    written: int
    subkeys: dict[str, Key] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    deleted: bool = False
    security: bytes = b""

    @property
    def path(self) -> str:
        """`\\REGISTRY\\...` from the root."""
        above = self.parent.path if self.parent is not None else ""
        return f"{above}\\{self.name}"

    def ordered_subkeys(self) -> list[Key]:
        """Subkeys by name, the order in which they are enumerated."""
        return [self.subkeys[name] for name in sorted(self.subkeys)]


class Registry:
    """The registry of one machine.

    `filters` are drivers' callbacks, the highest altitude first, `contexts` what they keep with
    open keys, by the key's body and their cookie.
    """

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.root = Key("REGISTRY", None, nt.clock.system_time, security=root_descriptor())
        self.filters: list[Filter] = []
        self.contexts: dict[tuple[int, int], int] = {}
        self.last_cookie = 0
        for path, values in BOOT_CONTENT.items():
            self.create(path)
            for name, content in values.items():
                self.set(path, name, content)

    def find(self, path: str, base: Key | None = None) -> Key | None:
        """The key at an absolute path, or at a path relative to `base`."""
        key: Key | None = base if base is not None else self.root
        for part in self.parts(path, base):
            if key is None:
                return None
            key = key.subkeys.get(self.follow(key, part).lower())
        return key

    def parts(self, path: str, base: Key | None = None) -> list[str]:
        """The names along a path; an absolute one's first, REGISTRY, is left out."""
        names = [part for part in path.split("\\") if part]
        return names if base is not None else names[1:]

    def is_absolute(self, path: str) -> bool:
        """Whether a path begins with \\Registry."""
        first = path[1:].partition("\\")[0] if path.startswith("\\") else ""
        return first.lower() == "registry"

    def follow(self, key: Key, part: str) -> str:
        """The name that is looked for: a link's target in place of the link."""
        if part.lower() == "currentcontrolset" and key.name.lower() == "system":
            return "ControlSet001"
        return part

    def create(self, path: str, base: Key | None = None) -> Key:
        """The key at `path`, made with all that is missing above it."""
        key = base if base is not None else self.root
        for part in self.parts(path, base):
            key = self.subkey(key, part)
        return key

    def subkey(self, key: Key, name: str) -> Key:
        """The subkey of that name, made if there is none."""
        name = self.follow(key, name)
        found = key.subkeys.get(name.lower())
        if found is None:
            security = inherited_descriptor(key.security)
            found = Key(name, key, self.nt.clock.system_time, security=security)
            key.subkeys[name.lower()] = found
            key.written = found.written
        return found

    def delete(self, key: Key) -> None:
        """Remove a key without subkeys; handles to it see that it is gone."""
        assert key.parent is not None and not key.subkeys, f"{key.path} cannot be deleted"
        del key.parent.subkeys[key.name.lower()]
        key.deleted = True
        key.parent.written = self.nt.clock.system_time

    def write(self, key: Key, name: str, kind: int, data: bytes) -> None:
        """Store a value."""
        key.values[name.lower()] = Value(name, kind, data)
        key.written = self.nt.clock.system_time

    def get(self, path: str, name: str) -> Content | None:
        """A value in Python, None if key or value does not exist."""
        key = self.find(path)
        value = key.values.get(name.lower()) if key is not None else None
        return None if value is None else to_python(value)

    def set(self, path: str, name: str, content: Content) -> None:
        """Store a value of the type that goes with the Python type, in a key made if need be."""
        kind, data = from_python(content)
        self.write(self.create(path), name, kind, data)

    def create_service(self, service: str, image_path: str) -> Key:
        """The key that the service controller makes for a kernel driver started on demand."""
        path = f"{_CONTROL_SET}\\Services\\{service}"
        for name, content in (("Type", 1), ("Start", 3), ("ErrorControl", 1)):
            self.set(path, name, content)
        key = self.create(path)
        self.write(key, "ImagePath", c.REG_EXPAND_SZ, wide(image_path))
        self.set(path, "DisplayName", service)
        return key


def wide(text: str) -> bytes:
    """UTF-16 with a terminator."""
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"


def from_python(content: Content) -> tuple[int, bytes]:
    """(type, data) of a Python value."""
    if isinstance(content, int):
        small = 0 <= content <= 0xFFFF_FFFF
        kind, size = (c.REG_DWORD, 4) if small else (c.REG_QWORD, 8)
        return kind, (content & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(size, "little")
    if isinstance(content, str):
        return c.REG_SZ, wide(content)
    if isinstance(content, list):
        return c.REG_MULTI_SZ, b"".join(map(wide, content)) + b"\0\0"
    return c.REG_BINARY, bytes(content)


def to_python(value: Value) -> Content:
    """A value's data in Python."""
    if value.type in (c.REG_DWORD, c.REG_QWORD):
        return int.from_bytes(value.data, "little")
    if value.type in _TEXT:
        return text_of(value.data)
    if value.type == c.REG_MULTI_SZ:
        return [text for text in text_of(value.data, cut=False).split("\0") if text]
    return value.data


def text_of(data: bytes, cut: bool = True) -> str:
    """UTF-16 text, up to its terminator if `cut`."""
    text = data[: len(data) & ~1].decode("utf-16-le", "surrogatepass")
    return text.partition("\0")[0] if cut else text
