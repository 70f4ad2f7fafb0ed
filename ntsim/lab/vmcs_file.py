"""A VMCS written as JSON: what `ntsim vmcs check` reads.

Either an object of fields, or an object with the member `fields` and, beside it, what the checks
need to know about the processor. A field is named as ntsim, Linux and most tutorials do
("GUEST_RIP"), as ia32-doc does ("VMCS_CTRL_PIN_BASED_VM_EXECUTION_CONTROLS"), or by its encoding
("0x681e", "681Eh"); its value is a number or a string with a number ("0x16").
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ntsim.abi import vmx_constants as abi
from ntsim.abi.vmcs_fields import FIELDS, VMCS_HIGH, VMCS_WIDTH_64, field_name
from ntsim.abi.vmcs_ia32_doc_names import IA32_DOC_NAMES
from ntsim.errors import ConfigurationError

_LOW_32 = 0xFFFF_FFFF
_HEXADECIMAL_H = re.compile(r"[0-9a-fA-F]+[hH]")
_CAPABILITY_MSRS = {
    name: value
    for name, value in vars(abi).items()
    if name.startswith("IA32_VMX_") and isinstance(value, int)
}
_FIELD_NAMES = {field.name: encoding for encoding, field in FIELDS.items()}


def number(text: Any) -> int:
    """A JSON number, or a string: 0x16, 16h, 22, with ` and _ between digits; else ValueError."""
    if isinstance(text, bool) or not isinstance(text, int | str):
        raise ValueError(f"{text!r} is not a number: write 22 or a string like '0x16'")
    value = text
    if isinstance(text, str):
        plain = text.strip().replace("`", "").replace("_", "")
        try:
            value = int(plain[:-1], 16) if _HEXADECIMAL_H.fullmatch(plain) else int(plain, 0)
        except ValueError:
            raise ValueError(f"{text!r} is not a number: write 22 or '0x16'") from None
    assert isinstance(value, int)
    if value < 0:
        raise ValueError(f"{value} is negative: write all 64 bits, as in '0xffffffffffffffff'")
    return value


Number = Annotated[int, BeforeValidator(number)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessorState(_Strict):
    """The processor that executes VMLAUNCH, where the checks ask for it."""

    long_mode: bool = True
    blocking_by_mov_ss: bool = False


class VmcsDocument(_Strict):
    """The file as it is written.

    `msrs` are IA32_VMX_* of the processor in question, by name or index, in place of `cpu`'s.
    `address` is the VMCS's own physical address, `memory` maps a physical address to the bytes
    there, as hexadecimal digits: what pointers in the VMCS lead to.
    """

    fields: dict[str, Number]
    cpu: str | None = None
    msrs: dict[str, Number] = {}
    physical_address_bits: Annotated[int | None, BeforeValidator(lambda v: v and number(v))] = None
    instruction: Literal["VMLAUNCH", "VMRESUME"] = "VMLAUNCH"
    launch_state: Literal["clear", "launched"] | None = None
    processor: ProcessorState = ProcessorState()
    address: Number | None = None
    memory: dict[str, str] = {}


class VmcsFile:
    """The document with its names resolved.

    `fields` maps full encodings to values, `msrs` indexes to values, `memory` addresses to bytes.
    """

    def __init__(self, document: VmcsDocument) -> None:
        self.document = document
        self.problems: list[str] = []
        self.fields: dict[int, int] = {}
        self._given: dict[int, str] = {}
        for name, value in document.fields.items():
            self._add(name, value)
        self.msrs = dict(filter(None, map(self._msr, document.msrs.items())))
        self.memory = dict(filter(None, map(self._bytes, document.memory.items())))

    def _add(self, name: str, value: int) -> None:
        encoding = encoding_of(name)
        if encoding is None:
            self.problems.append(f"no VMCS field is called {name!r}{_closest(name)}")
            return
        full, high = encoding & ~VMCS_HIGH, bool(encoding & VMCS_HIGH)
        bits = 32 if high else FIELDS[full].bits
        if value >> bits:
            kept = value & (1 << bits) - 1
            self.problems.append(
                f"{name} is {value:#x}, which has more than the field's {bits} bits "
                f"(VMWRITE would keep {kept:#x})"
            )
            return
        if encoding in self._given:
            first = self._given[encoding]
            self.problems.append(
                f"{name} and {first} are the same field, {encoding:#06x}: give one"
            )
            return
        self._given[encoding] = name
        before = self.fields.get(full, 0)
        self.fields[full] = before & _LOW_32 | value << 32 if high else before | value

    def _msr(self, item: tuple[str, int]) -> tuple[int, int] | None:
        name, value = item
        index = _CAPABILITY_MSRS.get(name.upper(), _CAPABILITY_MSRS.get("IA32_" + name.upper()))
        if index is None:
            try:
                index = number(name)
            except ValueError:
                known = difflib.get_close_matches(name.upper(), _CAPABILITY_MSRS, 3)
                hint = f": did you mean {', '.join(known)}?" if known else ": give IA32_VMX_*"
                self.problems.append(f"msrs: {name!r} is no capability MSR{hint}")
                return None
        if index not in _CAPABILITY_MSRS.values():
            self.problems.append(f"msrs: {name} is no capability MSR: those are 0x480 to 0x493")
            return None
        if value >> 64:
            self.problems.append(f"msrs: {name} is {value:#x}; an MSR has 64 bits")
            return None
        return index, value

    def _bytes(self, item: tuple[str, str]) -> tuple[int, bytes] | None:
        address, text = item
        try:
            return number(address), bytes.fromhex(text)
        except ValueError:
            self.problems.append(
                f"memory: {address!r}: {text[:20]!r} is not an address with hexadecimal digits, "
                "two for each byte"
            )
            return None


def encoding_of(name: str) -> int | None:
    """The encoding that a name or a number in text stands for; None if there is no such field."""
    plain = name.strip().upper()
    without = plain.removeprefix("VMCS_")
    for spelling in (plain, without, without.removeprefix("CTRL_")):
        high = spelling.endswith("_HIGH") and spelling not in _FIELD_NAMES
        base = spelling.removesuffix("_HIGH") if high else spelling
        found = _FIELD_NAMES.get(base, IA32_DOC_NAMES.get(base))
        if found is not None and (not high or FIELDS[found].width == VMCS_WIDTH_64):
            return found | VMCS_HIGH if high else found
    try:
        encoding = number(name)
    except ValueError:
        return None
    return encoding if field_name(encoding) in _names_of(encoding) else None


def _names_of(encoding: int) -> tuple[str, ...]:
    field = FIELDS.get(encoding & ~VMCS_HIGH)
    return (field.name, field.name + "_HIGH") if field else ()


def _closest(name: str) -> str:
    plain = name.strip().upper().removeprefix("VMCS_").removeprefix("CTRL_")
    known = difflib.get_close_matches(plain, [*_FIELD_NAMES, *IA32_DOC_NAMES], 3, 0.7)
    if not known:
        return "; `ntsim vmcs fields` lists them"
    return f": did you mean {', '.join(known)}?"


def read(path: Path) -> VmcsFile:
    """The file; ConfigurationError lists everything that is wrong with it as a file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_duplicates)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg} (hexadecimal numbers are "
            'strings in JSON: "0x16")'
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path}: a JSON object of VMCS fields is needed")
    if "fields" not in raw:
        raw = {"fields": raw}
    try:
        found = VmcsFile(VmcsDocument.model_validate(raw))
    except ValidationError as error:
        raise ConfigurationError(_listed(path, map(_said, error.errors()))) from None
    if found.problems:
        raise ConfigurationError(_listed(path, found.problems))
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen[name] = value
    return seen


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = ", ".join(VmcsDocument.model_fields)
        return f"{where}: no such member: beside fields there are {known.replace('fields, ', '')}"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _listed(path: Path, problems: Any) -> str:
    found = list(problems)
    return "\n  ".join([f"{path} cannot be checked:", *found])
