"""Modules other than the kernel that a compiled driver imports from: where they lie, what they are.

An export driver lies beside the one that imports from it, as in System32\\drivers. Modules that
belong to Windows itself, frameworks and class drivers, are told by name: no file of them is part of
ntsim. Source: WDK, "Creating Export Drivers", and each framework's introduction.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from ntsim.host.pe import Import, PeError, PeFile

WINDOWS_MODULES = {
    "wdfldr.sys": "KMDF's loader: ntsim runs WDM drivers, the framework is not modelled",
    "fltmgr.sys": "the filter manager: minifilters are not modelled",
    "ndis.sys": "NDIS: network drivers are not modelled",
    "fwpkclnt.sys": "the Windows Filtering Platform, which is not modelled",
    "storport.sys": "Storport: storage miniports are not modelled",
    "scsiport.sys": "the SCSI port driver, which is not modelled",
    "ks.sys": "kernel streaming, which is not modelled",
    "portcls.sys": "the audio port class, which is not modelled",
    "hidclass.sys": "the HID class, which is not modelled",
    "hidparse.sys": "the HID class, which is not modelled",
    "usbd.sys": "USB, which is not modelled",
    "wmilib.sys": "the WMI library, which is not modelled",
    "tdi.sys": "TDI, which is not modelled",
    "cng.sys": "CNG, which is not modelled",
    "ksecdd.sys": "kernel security support (CNG), which is not modelled",
    "ci.dll": "code integrity, which is not modelled",
    "dxgkrnl.sys": "the graphics kernel: display drivers are not modelled",
    "win32k.sys": "the windowing system, which is not modelled",
    "clfs.sys": "the common log file system, which is not modelled",
    "msrpc.sys": "kernel RPC, which is not modelled",
    "bootvid.dll": "the boot video driver, which is not modelled",
    "kdcom.dll": "the debugger's transport, which is not modelled",
    "pshed.dll": "the hardware error driver, which is not modelled",
}
_USER = ("kernel32.dll", "ntdll.dll", "user32.dll", "advapi32.dll", "msvcrt.dll", "ucrtbase.dll")
_USER_BEGINS = ("api-ms-win-", "vcruntime", "msvcp")


class Other(Enum):
    """What becomes of an import from a module that is not the kernel."""

    THERE = "another driver's"
    NO_FILE = "another driver's, not there"
    NOT_EXPORTED = "not exported by it"


def beside(path: Path, module: str) -> Path | None:
    """The file called like `module`, whatever the case of its letters, in the folder of `path`."""
    wanted = module.lower()
    found = (file for file in sorted(path.parent.iterdir()) if file.name.lower() == wanted)
    return next((file for file in found if file.is_file()), None)


def what_is(module: str) -> str:
    """A few words about a module of Windows; empty for any other."""
    name = module.lower()
    if name in _USER or name.startswith(_USER_BEGINS):
        return (
            "which is for user mode: link a driver with ntoskrnl.lib alone, "
            "without the C run-time (/NODEFAULTLIB, -nostdlib)"
        )
    return WINDOWS_MODULES.get(name, "")


def standing_of(path: Path, wanted: Import) -> Other:
    """Whether the file beside the driver at `path` has what is wanted of it."""
    file = beside(path, wanted.module)
    if file is None or file == path:
        return Other.NO_FILE
    try:
        other = PeFile(file.read_bytes())
        if wanted.ordinal is not None:
            known = wanted.ordinal in other.ordinals
        else:
            known = wanted.name in other.exports or wanted.name in other.forwarders
    except PeError:
        known = False
    return Other.THERE if known else Other.NOT_EXPORTED
