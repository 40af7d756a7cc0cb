"""Forms in half precision: what is in it and what is not, that it computes the same, and what does not fit."""

import contextlib
import io

import numpy as np
import onnx
import pytest
from conftest import enliven, small_model
from helpers import tensorrt_rtx
from onnx import TensorProto

from tlee.activations import Activations, difference
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.export import cli
from tlee.export.activations import deviation
from tlee.export.exporter import in_half
from tlee.models.checkpoint import save_checkpoint
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

HALF_PRECISION = 2e-2  # what hundreds of roundings of 0.0005 each add up to


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle with an fp16 variant, and what the command printed."""
    folder = tmp_path_factory.mktemp("half")
    save_checkpoint(folder / "small.safetensors", enliven(small_model()))
    arguments = [str(folder / "small.safetensors"), "-o", str(folder / "a.tlee"), "--no-verify", "--variants", "fp16"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.command(arguments)
    return Bundle.open(folder / "a.tlee"), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def bundle(exported) -> Bundle:
    return exported[0]


def halved(bundle):
    return bundle.manifest["variants"]["fp16"]["graphs"]


def test_all_but_the_delicate_have_halved(bundle):
    assert set(halved(bundle)) == (set(bundle.segments) | set(bundle.fused_exits)) - {"frm", "head", "gate"}
    assert bundle.read("head", "fp16") == bundle.read("head")


def test_halved_graphs_compute_what_float32_does_and_tensorrt_takes_them(bundle):
    activations = Activations(bundle)
    for name in halved(bundle):
        assert 0 < deviation(activations, name, bundle.read(name, "fp16"), threads=1) < HALF_PRECISION, name
        assert tensorrt_rtx.build(bundle.read(name, "fp16")) > 0


def test_weights_are_in_half_precision_but_for_the_delicate_parts(bundle):
    for name in halved(bundle):
        for tensor in onnx.load_from_string(bundle.read(name, "fp16")).graph.initializer:
            delicate = tensor.name.split("/")[0] in ("frm", "head", "gate")
            unwanted = TensorProto.FLOAT16 if delicate else TensorProto.FLOAT
            assert tensor.data_type != unwanted, (name, tensor.name)


def test_the_runtime_answers_in_half_precision(bundle):
    chains = [Chain(bundle, OnnxBackend(bundle, threads=1, precision=precision)) for precision in ("fp32", "fp16")]
    frame = np.full((32, 32, 3), 90, np.uint8)
    one, other = (chain.array(chain.split(0, chain.load(frame))) for chain in chains)
    assert 0 < difference("x0", one, other) < HALF_PRECISION


def test_a_weight_beyond_half_precision_is_an_error_that_names_it():
    text = """<ir_version: 7, opset_import: ["": 13]> graph (float[1,2] x) => (float[1,2] y)
    <float[2] w = {1, -100000}> { y = Mul(x, w) }"""
    with pytest.raises(UsageError) as caught:
        in_half("branch1", onnx.parser.parse_model(text))
    assert str(caught.value) == (
        "segment branch1: w holds 100000, half precision ends at 65504; "
        "export without --variants fp16, or train with weight decay until weights are smaller"
    )


def test_the_command_says_what_it_made_and_the_library_says_nothing(exported):
    _, out, err = exported
    assert "fp16: 6 segments and 3 fused exits" in out and err == ""
    assert out.startswith("small: mobilenetv2")
