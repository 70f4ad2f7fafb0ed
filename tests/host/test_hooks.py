"""driver/c/hook.c: code rewritten through a second mapping runs as it is now, and an export's body
can be copied and patched.

`memmove` of the kernel writes, so nothing tells the engine but the mapping.
"""

from pathlib import Path

HOOK = Path(__file__).parents[2] / "driver/c/hook.sys"


def test_code_that_a_kernel_routine_has_rewritten_is_what_runs(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(HOOK)
    assert machine.debug_output == [
        "before: 2",
        "rewritten: 1, 7",
        "again: 1, 8",
        "body: the import's",
        "hooked: 2 calls, time goes on",
    ]
    assert not machine.nt.mm.system.code_aliases, "the second mappings are gone"
