"""Names and source lines of a compiled driver, from its PDB or from DWARF in the image.

Read by `symbolic` (the extra `ntsim[native]`), which is imported only if there is something to
read. A PDB counts if it belongs to this build of the image: beside the driver, by the name that the
image's CodeView record has, or at that record's path. Source: PE Format, "Debug Type", CodeView.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from ntsim.host.pe import DEBUG, PeError, PeFile

_CODEVIEW, _ENTRY = 2, 28
_DWARF = b".debug_info"
_INLINED = 0xFFFF_FFFF
INSTALL = "pip install 'ntsim[native]'"


@dataclass(frozen=True, slots=True)
class Location:
    """A function and the line in it; `start` is relative to the image. Of inlined code the line is
    that of the inlined function, whose caller is named."""

    function: str
    start: int
    file: str
    line: int


class DebugInformation:
    """Of one image. `note` says what there is, or how to get it."""

    def __init__(self, path: Path, pe: PeFile) -> None:
        self.path, self.pe = path, pe
        self._cache: Any = None
        self._names = "its COFF symbols" if pe.coff_symbols[1] else "its exports"
        pdbs = [each for each in self._candidates() if each.is_file()]
        if not pdbs and _DWARF not in pe.data and b".zdebug_info" not in pe.data:
            name = self._pdb_name() or f"{path.stem}.pdb"
            self.note = f"names are {self._names}: put {name} beside {path.name}, and {INSTALL}"
            return
        try:
            from symbolic.debuginfo import Archive
        except ImportError:
            found = pdbs[0].name if pdbs else "the image"
            self.note = f"names are {self._names}: to read {found}, {INSTALL}"
            return
        self.note = self._open(Archive, pdbs)

    def _open(self, archive: Any, pdbs: list[Path]) -> str:
        """Read what belongs to the image: a sentence about it."""
        rejected = ""
        try:
            image = archive.open(str(self.path)).get_object(arch="x86_64")
            wanted = str(image.debug_id)
        except Exception as error:  # symbolic's own; the driver runs without names
            return f"symbolic cannot read {self.path.name}: {error}"
        for each in pdbs:
            try:
                candidate = archive.open(str(each)).get_object(arch="x86_64")
                if str(candidate.debug_id) == wanted:
                    self._cache = candidate.make_symcache()
                    return f"names and lines from {each.name}"
                rejected = f"{each.name} belongs to another build of {self.path.name}"
            except Exception as error:
                rejected = f"{each.name} cannot be read: {error}"
        if "debug" in image.features:
            self._cache = image.make_symcache()
            return "names and lines from the image's DWARF"
        return f"names are {self._names}: {rejected or 'the image has no debug information'}"

    def _pdb_name(self) -> str:
        """The path of the PDB in the image's CodeView record, empty if it has none."""
        try:
            at, size = self.pe.directory(DEBUG)
            for entry in range(at, at + size - _ENTRY + 1, _ENTRY):
                place = self.pe.number(entry + 20, 4)
                if self.pe.number(entry + 12, 4) == _CODEVIEW and place:
                    return self.pe.text(place + 24)
        except PeError:
            pass
        return ""

    def _candidates(self) -> Iterator[Path]:
        """Where the PDB may lie."""
        recorded = self._pdb_name()
        if recorded:
            yield self.path.with_name(PureWindowsPath(recorded).name)
        yield self.path.with_suffix(".pdb")
        if recorded:
            yield Path(recorded)

    def at(self, address: int) -> Location | None:
        """What lies at an address relative to the image."""
        if self._cache is None:
            return None
        found = self._cache.lookup(address)
        if not found:
            return None
        outer = next((each for each in reversed(found) if each.sym_addr != _INLINED), found[-1])
        function = str(outer.symbol).partition("(")[0]
        return Location(function, outer.sym_addr, found[0].full_path or "", found[0].line)
