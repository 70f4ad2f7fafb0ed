"""The formatted output of the C run-time library, as the kernel's _vsnprintf family does it.

A conversion is `%[flags][width][.precision][size]type`. What differs from standard C: `long` has 32
bits; I64, I32 and I are sizes; w means wide; %S and %C are of the other width than the function;
%Z is a counted string (ANSI_STRING, with w or l UNICODE_STRING); %p is 16 capital hexadecimal
digits. There is no floating point: such a conversion prints its type's letter and takes no
argument. Source: C run-time library reference, "Format specification syntax: printf and wprintf
functions"; WDK DbgPrint; capstone-engine/capstone, issue 681 (what `%f` gives in a driver).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ntsim.abi.memory import MASK64, Memory
from ntsim.abi.rtl import STRING
from ntsim.abi.types import address_value
from ntsim.nt.rtl.codepage import ansi_decode, ansi_encode, wide_decode
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes

NULL_TEXT = "(null)"
WIDEST = 0x1_0000
"""The most characters that a width or precision is good for here."""

_SPECIFICATION = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?"
    r"(?P<size>(?:I64|I32|[hlwLIFN])*)(?P<type>.)?",
    re.DOTALL,
)
_INTEGERS = "diouxXp"
_FLOATS = "aAeEfgG"


@dataclass(slots=True, frozen=True)
class Specification:
    """One conversion of a template. Width and precision are -1 for `*`, None if absent."""

    text: str
    flags: str
    width: int | None
    precision: int | None
    size: str
    type: str

    @property
    def bits(self) -> int:
        """Width of the integer argument."""
        if self.type == "p" or "I64" in self.size or "ll" in self.size:
            return 64
        if "I32" in self.size:
            return 32
        if "I" in self.size:
            return 64
        return {"h": 16, "hh": 8}.get(self.size, 32)

    def is_wide(self, wide_function: bool) -> bool:
        """Whether a character or string argument is UTF-16."""
        if "h" in self.size:
            return False
        if "l" in self.size or "w" in self.size:
            return True
        return wide_function != self.type.isupper() if self.type != "Z" else False


Parts = tuple["str | Specification", ...]


@lru_cache(maxsize=1024)
def parse_template(template: str) -> Parts:
    """Literal text and specifications in order; `%%` and unknown types are literal text."""
    parts: list[str | Specification] = []
    end = 0
    for found in _SPECIFICATION.finditer(template):
        parts.append(template[end : found.start()])
        end = found.end()
        kind = found["type"] or ""
        if kind and kind in _INTEGERS + _FLOATS + "cCsSZn":
            parts.append(_specification(found, kind))
        else:
            parts.append(kind)
    parts.append(template[end:])
    return tuple(part for part in parts if part)


def _specification(found: re.Match[str], kind: str) -> Specification:
    width, precision = found["width"], found["precision"]
    return Specification(
        found[0],
        found["flags"],
        None if width is None else -1 if width == "*" else int(width),
        None if precision is None else -1 if precision == "*" else int(precision or 0),
        found["size"],
        kind,
    )


class Arguments:
    """A va_list: a Python sequence, or the address of 8-byte slots.

    `missing` counts the arguments that a template asked for in vain; they read as 0.
    """

    def __init__(self, memory: Memory, source: Any) -> None:
        self.memory = memory
        self.sequence: Sequence[Any] | None = None
        self.address = 0
        if isinstance(source, list | tuple):
            self.sequence = source
        else:
            self.address = address_value(memory, source)
        self.taken = self.missing = 0

    def take(self) -> Any:
        """The next argument."""
        index = self.taken
        self.taken += 1
        if self.sequence is None:
            return int.from_bytes(self.memory.read(self.address + 8 * index, 8), "little")
        if index < len(self.sequence):
            return self.sequence[index]
        self.missing += 1
        return 0

    def integer(self, bits: int, signed: bool) -> int:
        """The next argument as an integer of the given width."""
        value = self.number() & ((1 << bits) - 1)
        return value - (1 << bits) if signed and value >> (bits - 1) else value

    def number(self) -> int:
        """The next argument's 64 bits, those of a double too."""
        value = self.take()
        if isinstance(value, float):
            return int.from_bytes(struct.pack("<d", value), "little")
        return address_value(self.memory, value)


@dataclass(slots=True)
class Formatter:
    """One call of the family. `problems` are sentences about what is wrong with the call.

    `wide` is the width of the function's own characters, `convert` whether arguments of the other
    width can be converted now: the tables are pageable, so above PASSIVE_LEVEL they give no output.
    """

    memory: Memory
    wide: bool = False
    convert: bool = True
    problems: list[str] = field(default_factory=list)

    def format(self, template: str, source: Any) -> str:
        """The text of a template with its arguments (see `Arguments`)."""
        parts = parse_template(template)
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        arguments = Arguments(self.memory, source)
        text = "".join(
            part if isinstance(part, str) else self._convert(part, arguments) for part in parts
        )
        if arguments.missing:
            given = arguments.taken - arguments.missing
            self.problems.append(
                f'format "{template.strip()}" takes {arguments.taken} arguments, {given} were given'
            )
        return text

    def _convert(self, spec: Specification, arguments: Arguments) -> str:
        flags, width, precision = spec.flags, spec.width, spec.precision
        if width == -1:
            width = arguments.integer(32, True)
            if width < 0:
                flags, width = flags + "-", -width
        if precision == -1:
            precision = arguments.integer(32, True)
            precision = None if precision < 0 else precision
        width = min(width or 0, WIDEST)
        if spec.type in _FLOATS:
            self.problems.append(f"{spec.text}: the kernel formats no floating-point numbers")
            return spec.type
        if spec.type == "n":
            arguments.take()
            self.problems.append(f"{spec.text}: the kernel stores no character counts")
            return ""
        if spec.type in _INTEGERS:
            sign, digits = self._integer(spec, flags, precision, arguments)
            if "0" in flags and "-" not in flags and (precision is None or spec.type == "p"):
                digits = digits.rjust(width - len(sign), "0")
            text = sign + digits
        else:
            text = self._text(spec, precision, arguments)
        return text.ljust(width) if "-" in flags else text.rjust(width)

    def _integer(
        self, spec: Specification, flags: str, precision: int | None, arguments: Arguments
    ) -> tuple[str, str]:
        """(sign or prefix, digits)."""
        kind = spec.type
        signed = kind in "di"
        value = arguments.integer(spec.bits, signed)
        sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
        least = 16 if kind == "p" else 1 if precision is None else min(precision, WIDEST)
        digits = format(abs(value), {"o": "o", "x": "x", "X": "X", "p": "X"}.get(kind, "d"))
        digits = "" if value == 0 and least == 0 else digits.rjust(least, "0")
        if signed:
            return sign, digits
        if "#" in flags and value and kind in "xX":
            return "0" + kind, digits
        if "#" in flags and kind == "o" and not digits.startswith("0"):
            digits = "0" + digits
        return "", digits

    def _text(self, spec: Specification, precision: int | None, arguments: Arguments) -> str:
        wide = spec.is_wide(self.wide)
        value = arguments.take()
        if wide != self.wide and not self.convert:
            self.problems.append(f"{spec.text}: Unicode can be converted at PASSIVE_LEVEL only")
            return ""
        if spec.type in "cC":
            return self._character(value, wide)
        if spec.type == "Z":
            return self._counted(address_value(self.memory, value), wide)
        if isinstance(value, str):
            return value.partition("\0")[0][:precision]
        if isinstance(value, bytes):
            return ansi_decode(value.partition(b"\0")[0][:precision])
        address = address_value(self.memory, value)
        if not address:
            return NULL_TEXT[:precision]
        if wide:
            return wide_decode(wide_bytes(self.memory, address, precision))
        return ansi_decode(narrow_bytes(self.memory, address, precision))

    def _character(self, value: Any, wide: bool) -> str:
        if isinstance(value, str):
            return value[:1]
        code = address_value(self.memory, value)
        return chr(code & 0xFFFF) if wide else ansi_decode(bytes([code & 0xFF]))

    def _counted(self, address: int, wide: bool) -> str:
        """The text of a STRING or UNICODE_STRING; the precision does not count."""
        if not address:
            return NULL_TEXT
        v = STRING.at(self.memory, address & MASK64)._v
        if not v.Buffer:
            return NULL_TEXT
        data = self.memory.read(v.Buffer, v.Length) if v.Length else b""
        return wide_decode(data) if wide else ansi_decode(data)


def template_text(memory: Memory, template: Any, wide: bool = False) -> str:
    """A format string: Python text, or the address of a NUL-terminated one."""
    if isinstance(template, str):
        return template
    read: Callable[..., bytes] = wide_bytes if wide else narrow_bytes
    data = read(memory, address_value(memory, template))
    return wide_decode(data) if wide else ansi_decode(data)


def narrowed(text: str) -> str:
    """Text as an 8-bit output stream would show it."""
    return ansi_decode(ansi_encode(text))
