"""Builds the compiled drivers beside this file: `python driver/c/build.py [NAME ...]`.

Needs `ziglang` from PyPI (clang, lld and the DDK headers in one package), which ntsim itself does
not. The same version gives the same bytes; `ZIGLANG` made the ones that are committed, and
tests/host/test_reproducible_build.py makes them again where it is installed.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ZIGLANG = "0.17.0"
FLAGS = (
    *("-target", "x86_64-windows-gnu", "-O2", "-fms-extensions", "-fno-stack-protector"),
    *("-fno-sanitize=all", "-Xclang", "-fasync-exceptions", "-fasynchronous-unwind-tables"),
    *("-mno-avx", "-fno-vectorize", "-nostdlib", "-shared", "-s"),
    *("-Wl,--subsystem,native", "-Wl,--entry,DriverEntry"),
)


def headers() -> Path:
    """The folder of Windows headers in ziglang."""
    import ziglang

    return Path(ziglang.__file__).parent / "lib/libc/include/any-windows-any"


def build(source: Path, into: Path = HERE) -> Path:
    """Compile and link one driver; CalledProcessError if that fails."""
    folder, target = headers(), into / f"{source.stem}.sys"
    command = (
        *(sys.executable, "-m", "ziglang", "cc", *FLAGS),
        *("-isystem", str(folder), "-isystem", str(folder / "ddk")),
        *("-o", str(target), str(source), "-lntoskrnl", "-lhal"),
    )
    subprocess.run(command, check=True)
    target.with_suffix(".lib").unlink(missing_ok=True)
    return target


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.c")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            print(build(path))
