"""Where the time goes, as text: cProfile's own time by function."""

import cProfile
import pstats
from pathlib import Path

LINES = 16


def shares(profiler: cProfile.Profile, rounds: int) -> str:
    """The functions with the largest shares, and how often each is called in one of `rounds`."""
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    ranked = sorted(stats.items(), key=lambda item: -item[1][2])[:LINES]
    lines = ["  where the time goes (cProfile's own time; calls in one round):"]
    for (file, _, name), (_, calls, own, _, _) in ranked:
        place = f"{'/'.join(Path(file).parts[-3:])}: {name}" if file != "~" else name
        lines.append(f"    {100 * own / total:5.1f} %  {calls / rounds:6.1f} x  {place}")
    return "\n".join(lines)
