"""The calibration cache: byte for byte what TensorRT takes, and nothing damaged."""

import math

import pytest

from tlee.calibration.int8.cache_file import read_cache, write_cache
from tlee.errors import BundleError, UsageError

# Written by TensorRT 7.2.2 for LeNet on MNIST, printed in F. Masar's guide to NVDLA ("NVDLA Loadable", 4.2).
LENET = b"""TRT-7202-EntropyCalibration2
data: 3c008912
conv1: 3c60dd38
pool1: 3c60dd38
conv2: 3d895e44
pool2: 3d895e44
(Unnamed Layer* 4) [Fully Connected]_output: 3d65992f
ip1: 3d65ff18
ip2: 3e11094c
prob: 3c083ffd
"""


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("8.2.1", b"TRT-8201-EntropyCalibration2\n"),
        ("8.2.1.8", b"TRT-8201-EntropyCalibration2\n"),
        ("8.6.1", b"TRT-8601-EntropyCalibration2\n"),
        ("10.3.0", b"TRT-100300-EntropyCalibration2\n"),
        ("10.16.1.11", b"TRT-101601-EntropyCalibration2\n"),
    ],
)
def test_a_cache_is_written_byte_for_byte_as_the_release_writes_it(version, header):
    # A tensor up to 1, a tensor up to 127, the largest and the smallest single.
    scales = {"score": 1 / 127, "x0": 1.0, "large": 3.4028234663852886e38, "small": 2**-149}
    lines = b"score: 3c010204\nx0: 3f800000\nlarge: 7f7fffff\nsmall: 00000001\n"
    assert write_cache(scales, version) == header + lines


def test_a_cache_that_tensorrt_wrote_is_read_and_written_back_unchanged():
    header, scales = read_cache(LENET)
    assert header == "TRT-7202-EntropyCalibration2" and len(scales) == 9
    assert scales["data"] * 127 == pytest.approx(0.9964, abs=1e-4)  # pixels between 0 and 1
    assert write_cache(scales, "7.2.2") == LENET


@pytest.mark.parametrize(
    "name", ["/part.0/Conv_output_0", "onnx::Conv_123", "input_1:0", "a: b", "a : 3c008912", "größe", "x\u2028\x0by"]
)
def test_names_hold_colons_spaces_and_letters_of_any_alphabet(name):
    _, scales = read_cache(write_cache({name: 0.5, "x0": 0.25}, "8.2.1"))
    assert scales == {name: 0.5, "x0": 0.25}


@pytest.mark.parametrize("scale", [0.0, -0.1, math.nan, math.inf, -math.inf, 1e-46, 1e39])
def test_a_scale_that_is_no_positive_single_is_not_written(scale):
    with pytest.raises(UsageError, match="tensor x0: its scale .* is no positive single"):
        write_cache({"x0": scale}, "8.2.1")


@pytest.mark.parametrize("name", ["", "x\n0"])
def test_a_name_that_fits_on_no_line_is_not_written(name):
    with pytest.raises(UsageError, match="no line holds a tensor named"):
        write_cache({name: 0.5}, "8.2.1")


@pytest.mark.parametrize("version", ["", "8.2", "8.x.1", "v8.2.1"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(UsageError, match="TensorRT version"):
        write_cache({}, version)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda content: b"", 1),
        (lambda content: content.rstrip(b"\n"), 10),
        (lambda content: content[:50], 3),
        (lambda content: content.replace(b"TRT-7202-", b"TRT--"), 1),
        (lambda content: content.replace(b"EntropyCalibration2", b"MinMaxCalibration"), 1),
        (lambda content: content.replace(b"\n", b"\r\n"), 1),
        (lambda content: content.replace(b"data: ", b"data "), 2),
        (lambda content: content.replace(b"conv1: 3c60dd38", b": 3c60dd38"), 3),
        (lambda content: content.replace(b"pool1: 3c60dd38", b"pool1: 3c60dd3"), 4),
        (lambda content: content.replace(b"pool1: 3c60dd38", b"pool1: 3c60dd3g"), 4),
        (lambda content: content.replace(b"conv2: 3d895e44", b"conv2: 00000000"), 5),
        (lambda content: content.replace(b"conv2: 3d895e44", b"conv2: bd895e44"), 5),
        (lambda content: content.replace(b"conv2: 3d895e44", b"conv2: 7fc00000"), 5),
        (lambda content: content.replace(b"pool2: 3d895e44", b"conv2: 3d895e44"), 6),
        (lambda content: content.replace(b"pool2: 3d895e44", b"\n"), 6),
        (lambda content: content.replace(b"pool2: 3d895e44", b"p\xff: 3d895e44"), 6),
    ],
)
def test_damage_is_one_line_that_says_where(damage, line):
    with pytest.raises(BundleError, match=f"calibration cache: damaged in line {line}; "):
        read_cache(damage(LENET))
