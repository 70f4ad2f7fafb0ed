"""`ntsim ioctl`: what the 32 bits of an I/O control code say, and the way back."""

import difflib

import rich_click as click

from ntsim.abi import ioctl
from ntsim.cli.numbers import c_number

METHOD_MEANINGS = {
    ioctl.METHOD_BUFFERED: "input and output in one system buffer, Irp->AssociatedIrp.SystemBuffer",
    ioctl.METHOD_IN_DIRECT: "input in SystemBuffer; the output buffer is read through an MDL",
    ioctl.METHOD_OUT_DIRECT: "input in SystemBuffer; the output buffer is written through an MDL",
    ioctl.METHOD_NEITHER: "raw user addresses in Type3InputBuffer and Irp->UserBuffer, unchecked",
}

ACCESS_MEANINGS = {
    ioctl.FILE_ANY_ACCESS: "any handle will do",
    ioctl.FILE_READ_ACCESS: "the handle must be opened with GENERIC_READ",
    ioctl.FILE_WRITE_ACCESS: "the handle must be opened with GENERIC_WRITE",
    3: "the handle must be opened with GENERIC_READ | GENERIC_WRITE",
}

ACCESS_WORDS = {
    "ANY": 0,
    "SPECIAL": 0,
    "READ": ioctl.FILE_READ_ACCESS,
    "WRITE": ioctl.FILE_WRITE_ACCESS,
}


@click.command(name="ioctl")
@click.argument("parts", nargs=-1, required=True, metavar="CODE | DEVICE FUNCTION METHOD ACCESS")
def command(parts: tuple[str, ...]) -> None:
    """Take an I/O control code apart, or put one together.

    `ntsim ioctl 0x22e001` shows the four parts of a code. `ntsim ioctl UNKNOWN 0x800 BUFFERED ANY`
    makes the code; each part is a number or a name, with or without its FILE_DEVICE_ or METHOD_.
    Several accesses are joined with + or |, as in READ+WRITE.
    """
    if len(parts) == 1:
        code = parse_code(parts[0])
    elif len(parts) == 4:
        code = encode(*parts)
    else:
        raise click.UsageError(
            f"{len(parts)} arguments: give one code to take apart (ntsim ioctl 0x22e001), or the "
            "four parts DEVICE FUNCTION METHOD ACCESS to put one together"
        )
    click.echo(explain(code))


def parse_code(text: str) -> int:
    """The 32-bit code that a person typed."""
    code = c_number(text)
    if code is None:
        raise click.UsageError(f"{text!r} is not a number: write a control code as in 0x22e001")
    if code > 0xFFFF_FFFF:
        raise click.UsageError(f"{text} does not fit the 32 bits of a control code")
    if text.isdecimal() and len(text) >= 6:
        click.echo(f"{text} was read as decimal; for hexadecimal write 0x{text}\n", err=True)
    return code


def encode(device: str, function: str, method: str, access: str) -> int:
    """The code of four parts given as numbers or names."""
    return ioctl.CTL_CODE(
        parse_device(device),
        parse_number(function, "function", 0xFFF),
        parse_method(method),
        parse_access(access),
    )


def parse_device(text: str) -> int:
    names = {name: value for value, name in ioctl.DEVICE_NAMES.items()}
    value = names.get("FILE_DEVICE_" + bare(text, "FILE_DEVICE_"))
    if value is not None:
        return value
    if c_number(text) is None:
        hint = closest(text, "FILE_DEVICE_", list(names))
        raise click.UsageError(
            f"unknown device type {text!r}{hint}; a number up to 0xffff works too"
        )
    return parse_number(text, "device type", 0xFFFF)


def parse_method(text: str) -> int:
    names = {name: value for value, name in ioctl.METHOD_NAMES.items()}
    value = names.get("METHOD_" + bare(text, "METHOD_"))
    if value is not None:
        return value
    if c_number(text) is None:
        raise click.UsageError(f"unknown method {text!r}: use one of {', '.join(names)} or 0 to 3")
    return parse_number(text, "method", 3)


def parse_access(text: str) -> int:
    """FILE_READ_ACCESS, READ, READ_DATA, READ+WRITE, `FILE_READ_DATA | FILE_WRITE_DATA`, or 0-3."""
    if c_number(text) is not None:
        return parse_number(text, "access", 3)
    access = 0
    for word in text.replace("|", "+").replace(",", "+").split("+"):
        stem = bare(word, "FILE_").removesuffix("_ACCESS").removesuffix("_DATA")
        if stem not in ACCESS_WORDS:
            raise click.UsageError(
                f"unknown access {word.strip()!r}: use FILE_ANY_ACCESS, FILE_READ_ACCESS, "
                "FILE_WRITE_ACCESS, READ+WRITE or 0 to 3"
            )
        access |= ACCESS_WORDS[stem]
    return access


def parse_number(text: str, part: str, limit: int) -> int:
    value = c_number(text)
    if value is None:
        raise click.UsageError(f"{part} {text!r} is not a number: use 0 to {limit:#x}")
    if value > limit:
        raise click.UsageError(f"{part} {text} is too large: the largest is {limit:#x}")
    return value


def bare(text: str, prefix: str) -> str:
    """A name in capitals, without the prefix that all of its kind share."""
    return text.strip().upper().replace("-", "_").removeprefix(prefix)


def closest(text: str, prefix: str, names: list[str]) -> str:
    """` (did you mean ...?)`, or nothing when no name is near."""
    stems = [name.removeprefix(prefix) for name in names]
    near = difflib.get_close_matches(bare(text, prefix), stems, n=2, cutoff=0.75)
    return f" (did you mean {' or '.join(prefix + stem for stem in near)}?)" if near else ""


def explain(code: int) -> str:
    """The CTL_CODE line and one row for each of the four parts."""
    parts = ioctl.decode(code)
    device = ioctl.DEVICE_NAMES.get(
        parts.device_type, reserved_for(parts.device_type, ioctl.FIRST_VENDOR_DEVICE_TYPE)
    )
    function = reserved_for(parts.function, ioctl.FIRST_VENDOR_FUNCTION)
    rows = [
        ("device type", f"0x{parts.device_type:04x}", device),
        ("function", f"0x{parts.function:03x}", function),
        ("method", str(parts.method), name_and_meaning(parts.method, "method")),
        ("access", str(parts.access), name_and_meaning(parts.access, "access")),
    ]
    lines = [f"{name:<12} {value:<7} {meaning}" for name, value, meaning in rows]
    return "\n".join([f"0x{code:08x} = {parts}", "", *lines])


def reserved_for(value: int, first_vendor: int) -> str:
    if value >= first_vendor:
        return f"vendors' range ({first_vendor:#x} and up)"
    return f"Microsoft's range (vendors' begins at {first_vendor:#x})"


def name_and_meaning(value: int, part: str) -> str:
    if part == "method":
        return f"{ioctl.METHOD_NAMES[value]}: {METHOD_MEANINGS[value]}"
    return f"{ioctl.ACCESS_NAMES[value]}: {ACCESS_MEANINGS[value]}"
