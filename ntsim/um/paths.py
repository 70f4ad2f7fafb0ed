"""Win32 file names to NT names. Source: Microsoft Learn "Naming Files, Paths, and Namespaces"."""

from __future__ import annotations

_DOS_DEVICES = {"con", "prn", "aux", "nul"}
_DOS_DEVICES |= {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
CURRENT_DIRECTORY = "C:\\Users\\User"


def nt_path(name: str) -> str:
    """`\\\\.\\Device`, `COM1`, `C:\\file`, `file`: each below the DOS devices directory."""
    name = name.replace("/", "\\")
    if name.startswith(("\\\\.\\", "\\\\?\\", "\\??\\")):
        return "\\??\\" + name[4:]
    if name.startswith("\\\\"):
        return "\\??\\UNC\\" + name[2:]
    if name.lower().rstrip(":") in _DOS_DEVICES:
        return "\\??\\" + name.rstrip(":")
    if name[1:2] == ":":
        return "\\??\\" + name
    if name.startswith("\\"):
        return "\\??\\C:" + name
    return f"\\??\\{CURRENT_DIRECTORY}\\{name}"
