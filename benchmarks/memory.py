"""Peak memory of a process, on Linux."""

from pathlib import Path


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (1e6 bytes).

    Of a spawned child it is the child's own: its ``ru_maxrss`` would begin at its parent's peak.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    [kilobytes] = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6
