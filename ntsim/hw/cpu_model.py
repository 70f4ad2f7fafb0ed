"""Which processor a machine has: its CPUID leaves and the MSRs it comes out of reset with.

`CpuModel(name=, msrs={}, cpuid={}, physical_address_bits=)` is the built-in i7-6820HQ with what is
given laid over it, so a test of a locked-out IA32_FEATURE_CONTROL is `CpuModel(msrs={0x3A: 1})`.
Given values are taken as they are: the masks of `i7_6820hq` keep a driver from using what ntsim
does not run, and whoever overrides one answers for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ntsim.errors import ConfigurationError
from ntsim.hw import i7_6820hq as silicon

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_LEAF_1_ECX = silicon.masked(silicon.LEAF_1_ECX, silicon.LEAF_1_ECX_MASKS)
_LEAF_1_EDX = silicon.masked(silicon.LEAF_1_EDX, silicon.LEAF_1_EDX_MASKS)
_LEAF_7_EBX = silicon.masked(silicon.LEAF_7_EBX, silicon.LEAF_7_EBX_MASKS)
_ZERO: Leaf = (0, 0, 0, 0)
_XSAVE, _OSXSAVE = 1 << 26, 1 << 27
_HTT = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """A processor model: what differs from the built-in one, and everything that follows from it.

    `msrs` maps an MSR index to its 64-bit value at reset; `cpuid` maps a leaf, or (leaf, subleaf),
    to its four registers. Given leaves replace the whole answer. ConfigurationError for a value
    that does not fit its register.
    """

    name: str = silicon.NAME
    msrs: Mapping[int, int] = field(default_factory=dict)
    cpuid: Mapping[int | tuple[int, int], Leaf] = field(default_factory=dict)
    physical_address_bits: int = silicon.PHYSICAL_ADDRESS_BITS

    def __post_init__(self) -> None:
        _check(self)
        merged = {**silicon.FIRMWARE_MSRS, **silicon.capability_msrs(), **self.msrs}
        object.__setattr__(self, "msrs", MappingProxyType(merged))
        object.__setattr__(self, "cpuid", MappingProxyType(dict(self.cpuid)))

    @property
    def linear_address_bits(self) -> int:
        """Bits of a canonical linear address."""
        return silicon.LINEAR_ADDRESS_BITS

    @property
    def has_vmx(self) -> bool:
        """CPUID.1:ECX.VMX."""
        return bool(self.leaf(1)[2] & 1 << 5)

    def leaf(
        self,
        leaf: int,
        subleaf: int = 0,
        *,
        processor: int = 0,
        processors: int = 1,
        osxsave: bool = False,
    ) -> Leaf:
        """What CPUID returns on `processor` of a machine with `processors` of them.

        `osxsave` is that processor's CR4.OSXSAVE. A leaf above the highest of its range answers as
        the highest basic leaf does (SDM 2A, CPUID, "Information Returned by CPUID Instruction").
        """
        if not _has_leaf(leaf):
            leaf = silicon.HIGHEST_BASIC_LEAF
        given = self.cpuid.get((leaf, subleaf)) or self.cpuid.get(leaf)
        if given is not None:
            return given
        topology = _Topology(processor, processors)
        if leaf == 1:
            return topology.leaf_1(osxsave)
        if leaf == 4:
            return topology.leaf_4(subleaf)
        if leaf == 0xB:
            return topology.leaf_b(subleaf)
        if leaf == 0x8000_0008:
            return (silicon.LINEAR_ADDRESS_BITS << 8 | self.physical_address_bits, 0, 0, 0)
        return _FIXED_SUBLEAVES.get((leaf, subleaf)) or _FIXED_LEAVES.get(leaf, _ZERO)


@dataclass(frozen=True, slots=True)
class _Topology:
    """One package; two threads a core where the processors pair up, else one. APIC ID = number."""

    processor: int
    processors: int

    @property
    def threads_per_core(self) -> int:
        return 2 if self.processors % 2 == 0 else 1

    @property
    def package_shift(self) -> int:
        """Bits of an APIC ID below the package number."""
        return (self.processors - 1).bit_length()

    def leaf_1(self, osxsave: bool) -> Leaf:
        logical_ids = 1 << self.package_shift
        ebx = 8 << 8 | logical_ids << 16 | self.processor << 24  # CLFLUSH line of 64 bytes
        ecx = _LEAF_1_ECX | (_OSXSAVE if osxsave and _LEAF_1_ECX & _XSAVE else 0)
        edx = _LEAF_1_EDX | (_HTT if self.processors > 1 else 0)
        return (silicon.SIGNATURE, ebx, ecx, edx)

    def leaf_4(self, subleaf: int) -> Leaf:
        """Caches: 32 KiB data, 32 KiB code, 256 KiB, all a core's; 8 MiB the package's."""
        if subleaf >= len(_CACHES):
            return _ZERO
        kind, of_package, ebx, sets, edx = _CACHES[subleaf]
        sharing = 1 << self.package_shift if of_package else self.threads_per_core
        cores = max(1, (1 << self.package_shift) // self.threads_per_core)
        return (kind | sharing - 1 << 14 | cores - 1 << 26, ebx, sets, edx)

    def leaf_b(self, subleaf: int) -> Leaf:
        threads = self.threads_per_core
        if subleaf == 0:
            return (threads - 1, threads, 0x100, self.processor)
        if subleaf == 1:
            return (self.package_shift, self.processors, 0x201, self.processor)
        return (0, 0, subleaf & 0xFF, self.processor)


# Type/level bits of EAX, whether the package shares it, EBX, sets - 1, EDX.
_CACHES = (
    (0x121, False, 0x01C0_003F, 0x3F, 0),
    (0x122, False, 0x01C0_003F, 0x3F, 0),
    (0x143, False, 0x00C0_003F, 0x3FF, 0),
    (0x163, True, 0x03C0_003F, 0x1FFF, 6),
)


def _text_registers(text: str) -> tuple[Leaf, ...]:
    """48 bytes of brand string as three leaves."""
    raw = text.encode("ascii").ljust(48, b"\0")
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 48, 4)]
    return tuple((words[i], words[i + 1], words[i + 2], words[i + 3]) for i in (0, 4, 8))


_FIXED_LEAVES: dict[int, Leaf] = {
    0x00: (silicon.HIGHEST_BASIC_LEAF, 0x756E_6547, 0x6C65_746E, 0x4965_6E69),  # GenuineIntel
    0x02: (0x7603_6301, 0x00F0_B5FF, 0, 0x00C3_0000),
    0x05: (0x40, 0x40, 0x3, 0),  # MONITOR line of 64 bytes, no C-state hints
    0x06: (0x4, 0, 0, 0),  # the APIC timer always runs
    0x15: (2, 225, 0, 0),  # TSC = 24 MHz crystal * 225 / 2
    0x16: (2700, 3600, 100, 0),
    0x8000_0000: (silicon.HIGHEST_EXTENDED_LEAF, 0, 0, 0),
    0x8000_0001: (0, 0, silicon.EXTENDED_1_ECX, silicon.EXTENDED_1_EDX),
    **{0x8000_0002 + i: leaf for i, leaf in enumerate(_text_registers(silicon.BRAND))},
    0x8000_0006: (0, 0, 0x0100_6040, 0),
    0x8000_0007: (0, 0, 0, 0x100),  # invariant TSC
}
_FIXED_SUBLEAVES: dict[tuple[int, int], Leaf] = {(0x7, 0): (0, _LEAF_7_EBX, 0, 0)}


def _has_leaf(leaf: int) -> bool:
    extended = 0x8000_0000 <= leaf <= silicon.HIGHEST_EXTENDED_LEAF
    return extended or leaf <= silicon.HIGHEST_BASIC_LEAF


def _check(model: CpuModel) -> None:
    """Refuse values that fit no register; the message names the one that does not."""
    if not 32 <= model.physical_address_bits <= 52:
        raise ConfigurationError(
            f"CPU model {model.name!r}: physical_address_bits is {model.physical_address_bits}; "
            "a processor has 32 to 52"
        )
    for msr, value in model.msrs.items():
        if not (0 <= msr < 1 << 32 and 0 <= value < 1 << 64):
            raise ConfigurationError(
                f"CPU model {model.name!r}: MSR {msr:#x} = {value:#x}; an index has 32 bits and a "
                "value 64"
            )
    for leaf, registers in model.cpuid.items():
        if len(registers) != 4 or any(not 0 <= r < 1 << 32 for r in registers):
            raise ConfigurationError(
                f"CPU model {model.name!r}: CPUID leaf {leaf} is {registers!r}; give four 32-bit "
                "values: EAX, EBX, ECX, EDX"
            )


DEFAULT = CpuModel(name=silicon.NAME)
_MODELS = {DEFAULT.name: DEFAULT}


def lookup(name: str) -> CpuModel:
    """The built-in model of this name; ConfigurationError lists the ones there are."""
    model = _MODELS.get(name)
    if model is None:
        known = ", ".join(sorted(_MODELS))
        raise ConfigurationError(
            f"no CPU model is called {name!r}: use {known}, or give your own ntsim.CpuModel"
        )
    return model
