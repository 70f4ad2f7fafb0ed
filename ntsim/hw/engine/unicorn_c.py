"""The C library: where it is, the calls the engine makes, the numbers they take.

The Python binding builds objects for every register it touches (3 us each) and imports the
constants of nine architectures (25 ms): so the engine loads the binding's shared library and
calls it directly. Numbers are those of unicorn 2.1.4 (`include/unicorn/unicorn.h`, `x86.h`); the
self-test checks the version.
"""

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

SUPPORTED_VERSION = (2, 1, 4)

ARCH_X86, MODE_64 = 4, 8
# No AMD model but EPYC and its kin has RDRAND, which the library answers with host randomness;
# on this one it is #UD, and the machine can answer it from its own generator.
CPU_OPTERON_G5 = 34

ERR_OK = 0
MEM_WRITE_UNMAPPED, MEM_FETCH_UNMAPPED, MEM_FETCH_PROT = 20, 21, 24
PROT_ALL = 7
HOOK_INTR, HOOK_INSN, HOOK_BLOCK, HOOK_NO_MEMORY = 1, 2, 8, 16 | 32 | 64 | 512
HOOK_CODE, HOOK_EDGE_GENERATED = 4, 1 << 15
INS_IN, INS_OUT, INS_SYSCALL = 218, 500, 699

_CTL_WRITE, _CTL_ARGUMENTS = 30, 26
CTL_USE_EXITS = 4 | 1 << _CTL_WRITE | 1 << _CTL_ARGUMENTS
CTL_CPU_MODEL = 7 | 1 << _CTL_WRITE | 1 << _CTL_ARGUMENTS
CTL_REQUEST_BLOCK = 8 | 3 << _CTL_WRITE | 2 << _CTL_ARGUMENTS
CTL_TB_FLUSH = 10 | 1 << _CTL_WRITE
CTL_TLB_FLUSH = 11 | 1 << _CTL_WRITE

REG_RAX, REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP = 35, 36, 37, 38, 39, 40, 41
REG_RSI, REG_RSP, REG_R8, REG_XMM0, REG_MXCSR, REG_RFLAGS = 43, 44, 106, 122, 249, 253
REG_CS, REG_SS, REG_CR4 = 11, 49, 54
REG_FPCW, REG_FPTAG, REG_MSR, REG_FPSW = 246, 247, 248, 31

# In the order of their numbers in instructions.
REG_GENERAL = (
    *(REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI),
    *range(REG_R8, REG_R8 + 8),
)
REG_XMM = tuple(range(REG_XMM0, REG_XMM0 + 16))
REG_X87 = tuple(range(82, 82 + 8))  # by their place, not from the top of the stack

INTERRUPT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
IN_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
OUT_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
SYSCALL_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
CODE_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
)
READ_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_void_p
)
WRITE_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_void_p
)
UNMAPPED_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)


class Msr(ctypes.Structure):
    """What REG_MSR reads and writes."""

    _fields_ = (("index", ctypes.c_uint32), ("value", ctypes.c_uint64))


class Block(ctypes.Structure):
    """A piece of translated code: address, number of instructions, bytes."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("instructions", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    )


TRANSLATED_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(Block), ctypes.c_void_p, ctypes.c_void_p
)


class EngineError(RuntimeError):
    """The engine's library is missing, is another version, or refused a call."""


_FILES = {"win32": "unicorn.dll", "darwin": "libunicorn.2.dylib"}


def _path() -> str:
    spec = find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("unicorn is not installed: pip install unicorn==2.1.4")
    name = _FILES.get(sys.platform, "libunicorn.so.2")
    for folder in spec.submodule_search_locations:
        path = os.path.join(folder, "lib", name)
        if os.path.exists(path):
            return path
    raise EngineError(f"the installed unicorn has no {name}: pip install unicorn==2.1.4")


@cache
def library() -> Any:
    """The loaded library with its prototypes set (6 ms the first time)."""
    lib = ctypes.CDLL(_path())
    handle, word, size, pointer = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
    number = ctypes.c_int
    for name, *types in (
        ("uc_open", number, number, pointer),
        ("uc_close", handle),
        ("uc_ctl", handle, number),
        ("uc_mem_map_ptr", handle, word, word, ctypes.c_uint32, pointer),
        ("uc_mmio_map", handle, word, size, pointer, pointer, pointer, pointer),
        ("uc_mem_unmap", handle, word, word),
        ("uc_hook_add", handle, pointer, number, pointer, pointer, word, word),
        ("uc_hook_del", handle, size),
        ("uc_reg_read", handle, number, pointer),
        ("uc_reg_write", handle, number, pointer),
        ("uc_reg_read_batch", handle, pointer, pointer, number),
        ("uc_reg_write_batch", handle, pointer, pointer, number),
        ("uc_emu_start", handle, word, word, word, size),
        ("uc_emu_stop", handle),
        ("uc_context_alloc", handle, pointer),
        ("uc_free", pointer),
        ("uc_context_save", handle, pointer),
        ("uc_context_restore", handle, pointer),
        ("uc_context_size", handle),
    ):
        function = getattr(lib, name)
        function.argtypes = types
        function.restype = size if name == "uc_context_size" else number
    lib.uc_version.restype = ctypes.c_uint32
    lib.uc_strerror.restype = ctypes.c_char_p
    return lib


def version() -> tuple[int, int, int]:
    """The library's version: major, minor, patch."""
    packed = library().uc_version(None, None)
    return packed >> 24 & 0xFF, packed >> 16 & 0xFF, packed >> 8 & 0xFF


def check(error: int, doing: str) -> None:
    """Raise EngineError for a call that did not return UC_ERR_OK."""
    if error != ERR_OK:
        text = library().uc_strerror(error).decode()
        raise EngineError(f"unicorn {'.'.join(map(str, version()))}: {doing}: {text}")
