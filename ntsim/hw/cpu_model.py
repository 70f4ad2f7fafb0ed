"""Which processor a machine has: its CPUID leaves and the MSRs it comes out of reset with.

The built-in models are those of `ntsim.hw.silicon`, less what ntsim does not run.
`CpuModel(name=, based_on=, msrs={}, cpuid={}, physical_address_bits=)` is one of them with what is
given laid over it, so a test of a locked-out IA32_FEATURE_CONTROL is `CpuModel(msrs={0x3A: 1})`.
Given values are taken as they are: the masks of `silicon.limits` keep a driver from using what
ntsim does not run, and whoever overrides one answers for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ntsim.errors import ConfigurationError
from ntsim.hw import silicon
from ntsim.hw.silicon import Leaf, Mask, Silicon
from ntsim.hw.silicon.processor import LEAF_1_ECX, LEAF_1_EDX, performance_counters

_ZERO: Leaf = (0, 0, 0, 0)
_XSAVE, _OSXSAVE = 1 << 26, 1 << 27
_HTT = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """A processor model: what differs from the built-in one, and everything that follows from it.

    `based_on` names the built-in one. `msrs` maps an MSR index to its 64-bit value at reset,
    `cpuid` a leaf, or (leaf, subleaf), to its four registers. Given leaves replace the whole
    answer. `physical_address_bits` 0 is the built-in one's. ConfigurationError for a value that
    does not fit its register.
    """

    name: str = silicon.DEFAULT.name
    based_on: str = silicon.DEFAULT.name
    msrs: Mapping[int, int] = field(default_factory=dict)
    cpuid: Mapping[int | tuple[int, int], Leaf] = field(default_factory=dict)
    physical_address_bits: int = 0
    _silicon: Silicon = field(init=False, repr=False, compare=False)
    _leaves: Mapping[int, Leaf] = field(init=False, repr=False, compare=False)
    _features: tuple[int, int] = field(init=False, repr=False, compare=False)
    _given: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = silicon.silicon_of(self.based_on)
        object.__setattr__(self, "_silicon", found)
        width = self.physical_address_bits or found.physical_address_bits
        object.__setattr__(self, "physical_address_bits", width)
        _check(self)
        object.__setattr__(self, "_given", frozenset(self.msrs))
        merged = {**found.firmware_msrs, **found.model_msrs(), **self.msrs}
        object.__setattr__(self, "msrs", MappingProxyType(merged))
        object.__setattr__(self, "cpuid", MappingProxyType(dict(self.cpuid)))
        object.__setattr__(self, "_leaves", MappingProxyType(found.fixed_leaves()))
        features = found.feature(LEAF_1_ECX), found.feature(LEAF_1_EDX)
        object.__setattr__(self, "_features", features)

    @property
    def linear_address_bits(self) -> int:
        """Bits of a canonical linear address."""
        return self._silicon.linear_address_bits

    @property
    def tsc_hz(self) -> int:
        """Ticks of the time-stamp counter in a second."""
        return self._silicon.tsc_hz

    @property
    def perf_global_ctrl(self) -> int:
        """The bits of IA32_PERF_GLOBAL_CTRL: CPUID.0AH says how many counters there are."""
        return performance_counters(self.leaf(0xA))

    def withheld(self, msr: int) -> tuple[Mask, ...]:
        """What a capability MSR has on silicon and not here; nothing of one that was given."""
        return self._silicon.masks(msr) if msr not in self._given else ()

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
        found = self._silicon
        extended = 0x8000_0000 <= leaf <= found.highest_extended_leaf
        if not extended and leaf > found.highest_basic_leaf:
            leaf = found.highest_basic_leaf
        given = self.cpuid.get((leaf, subleaf)) or self.cpuid.get(leaf)
        if given is not None:
            return given
        topology = _Topology(found, processor, processors)
        if leaf == 1:
            return topology.leaf_1(*self._features, osxsave)
        if leaf == 4:
            return topology.leaf_4(subleaf)
        if leaf == 7 and subleaf:
            return _ZERO
        if leaf == 0xB:
            return topology.leaf_b(subleaf)
        if leaf == 0x8000_0008:
            return (found.linear_address_bits << 8 | self.physical_address_bits, 0, 0, 0)
        return self._leaves.get(leaf, _ZERO)


@dataclass(frozen=True, slots=True)
class _Topology:
    """One package; two threads a core where the processors pair up, else one. APIC ID = number."""

    silicon: Silicon
    processor: int
    processors: int

    @property
    def threads_per_core(self) -> int:
        return 2 if self.processors % 2 == 0 else 1

    @property
    def package_shift(self) -> int:
        """Bits of an APIC ID below the package number."""
        return (self.processors - 1).bit_length()

    def leaf_1(self, ecx: int, edx: int, osxsave: bool) -> Leaf:
        logical_ids = 1 << self.package_shift
        ebx = 8 << 8 | logical_ids << 16 | self.processor << 24  # CLFLUSH line of 64 bytes
        ecx |= _OSXSAVE if osxsave and ecx & _XSAVE else 0
        edx |= _HTT if self.processors > 1 else 0
        return (self.silicon.signature, ebx, ecx, edx)

    def leaf_4(self, subleaf: int) -> Leaf:
        """Caches; a sub-leaf beyond them has type 0."""
        caches = self.silicon.caches
        if subleaf >= len(caches):
            return _ZERO
        kind, of_package, ebx, sets, edx = caches[subleaf]
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


DEFAULT = CpuModel()
_MODELS = {DEFAULT.name: DEFAULT}


def lookup(name: str) -> CpuModel:
    """The built-in model of this name; ConfigurationError lists the ones there are."""
    name = silicon.silicon_of(name).name
    if name not in _MODELS:
        _MODELS[name] = CpuModel(name=name, based_on=name)
    return _MODELS[name]
