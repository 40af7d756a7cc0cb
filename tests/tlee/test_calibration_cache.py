"""A calibration cache for another release of TensorRT: only its header changes, and damage is not hidden."""

import pytest

from tlee.calibration_cache import for_release
from tlee.errors import TleeError, UsageError

CACHE = b"TRT-7202-EntropyCalibration2\ndata: 3c008912\n(Unnamed Layer* 4) [Fully Connected]_output: 3d65992f\n"


def test_for_another_release_only_the_header_changes():
    assert for_release(CACHE, "10.3.0") == CACHE.replace(b"TRT-7202-", b"TRT-100300-")
    assert for_release(for_release(CACHE, "8.2.1"), "7.2.2.3") == CACHE


@pytest.mark.parametrize("version", ["", "8.2", "8.x.1", "v8.2.1"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(UsageError, match="TensorRT version"):
        for_release(CACHE, version)


def test_another_release_does_not_hide_damage():
    for content in (CACHE[:-1], CACHE[5:], b"\xff" + CACHE):
        with pytest.raises(TleeError, match="damaged in line"):
            for_release(content, "8.2.1")
