"""NVIDIA's own ONNX parser and engine builder, TensorRT-RTX, which work without a GPU (running needs one)."""

from __future__ import annotations

import contextlib
import io

import onnx
import tensorrt_rtx as trt
from onnxruntime.transformers.float16 import convert_float_to_float16


class Log(trt.ILogger):
    """Keeps errors instead of printing them."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.errors.append(message)


def build(model: bytes) -> int:
    """Parse and build an ONNX model; returns the engine's size in bytes, raises AssertionError with NVIDIA's words."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    assert engine is not None, log.errors
    return engine.nbytes


def in_fp16(model: bytes) -> bytes:
    """The model computing in half precision, its inputs and outputs still in single."""
    with contextlib.redirect_stdout(io.StringIO()):
        return convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True).SerializeToString()
