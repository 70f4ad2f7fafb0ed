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

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ex_create_object_types(nt: Kernel) -> None:
    """Event, Mutant, Semaphore, IoCompletion, Section, Callback with the system's callback objects,
    Key: after the namespace exists, before any open.
    """
    exp_create_event_type(nt)
    exp_create_mutant_type(nt)
    exp_create_semaphore_type(nt)
    iop_create_completion_type(nt)
    mm_create_section_type(nt)
    exp_create_callback_type(nt)
    cm_create_key_type(nt)
