"""Wall time and peak memory of a command with all its children.

    python benchmarks/whole_tree.py make demo

Memory is the sum of the proportional set sizes (shared pages counted once), sampled every two seconds.
"""

import subprocess
import sys
import time

import psutil

EVERY_S = 2.0


def tree_bytes(root: psutil.Process) -> int:
    """Proportional memory of a process and its descendants, in bytes; processes that end meanwhile count as nothing."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main(command: list[str]) -> int:
    """Run the command; prints one line after it."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(command)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, tree_bytes(root))
        except psutil.NoSuchProcess:
            break
        time.sleep(EVERY_S)
    code = process.wait()
    print(f"{time.monotonic() - started:.1f} s, peak memory {peak / 2**30:.2f} GiB, exit code {code}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
