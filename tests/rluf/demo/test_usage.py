"""Goal: the peak counts children too. Method: a child that holds memory for a moment."""

import subprocess
import sys

from rluf.demo.usage import PeakMemory

CODE = """
import time
held = bytearray(80_000_000)
held[::4096] = b"x" * len(held[::4096])
time.sleep(1.5)
"""


def test_memory_of_a_child_counts():
    with PeakMemory() as alone:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1.2)"], check=True)
    with PeakMemory() as memory:
        subprocess.run([sys.executable, "-c", CODE], check=True)
    assert memory.peak_mb > alone.peak_mb + 60
