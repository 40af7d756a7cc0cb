"""Buffers stay with the process."""

import platform
import resource
import subprocess
import sys

import pytest

KEPT = """
import resource
from tlee.training.memory import keep_buffers
{}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffer = bytearray(64 << 20)
del buffer
before = faults()
for _ in range(4):
    buffer = bytearray(64 << 20)
    del buffer
print(faults() - before)
"""


def pages_taken(call):
    result = subprocess.run([sys.executable, "-c", KEPT.format(call)], capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep buffers")
def test_kept_buffers_are_not_taken_from_the_kernel_again():
    pages = (64 << 20) // resource.getpagesize()
    assert pages_taken("keep_buffers()") < pages / 4
