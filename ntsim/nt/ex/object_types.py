"""The executive's object types, registered at boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.cm.handles import cm_create_key_type
from ntsim.nt.ex.callback import exp_create_callback_type
from ntsim.nt.ex.events import exp_create_event_type
from ntsim.nt.ex.mutants import exp_create_mutant_type
from ntsim.nt.ex.semaphores import exp_create_semaphore_type
from ntsim.nt.io.completion_port import iop_create_completion_type
from ntsim.nt.mm.section import mm_create_section_type
from ntsim.nt.ob.objects import ObjectType

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


BARE_TYPES = {
    "Job": ((0x2_0004, 0x2_000B, 0x12_0000, 0x1F_001F), 0x1F_001F),
    "WindowStation": ((0x2_0303, 0x2_001C, 0x2_0060, 0xF_037F), 0xF_037F),
    "Desktop": ((0x2_0041, 0x2_00BE, 0x2_0100, 0xF_01FF), 0xF_01FF),
    "ALPC Port": ((0x2_0001, 0x1_0001, 0, 0x1F_0001), 0x1F_0001),
    "Adapter": ((0x12_0089, 0x12_0116, 0x12_00A0, 0x1F_01FF), 0x1F_01FF),
    "Controller": ((0x12_0089, 0x12_0116, 0x12_00A0, 0x1F_01FF), 0x1F_01FF),
}
"""Generic mapping and valid rights of types that drivers name, of which this machine makes no
object. Source: ReactOS kmtests ObTypes.c (where ALPC Port was Port)."""


def ex_create_object_types(nt: Kernel) -> None:
    """Event, Mutant, Semaphore, IoCompletion, Section, Callback with the system's callback objects,
    Key, and those without objects: after the namespace exists, before any open.
    """
    exp_create_event_type(nt)
    exp_create_mutant_type(nt)
    exp_create_semaphore_type(nt)
    iop_create_completion_type(nt)
    mm_create_section_type(nt)
    exp_create_callback_type(nt)
    cm_create_key_type(nt)
    for name, (mapping, valid) in BARE_TYPES.items():
        nt.ob.add_type(ObjectType(name, mapping, valid, waitable_offset=0))
