"""Graphs in half precision, for TensorRT releases that read the precision from the ONNX alone (11, RTX)."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from tlee.errors import UsageError

LARGEST = float(np.finfo(np.float16).max)  # 65504


def in_half(segment: str, model: ModelProto) -> ModelProto:
    """A segment that computes in half precision, its inputs and outputs still in float32.

    Raises:
        UsageError: a weight is beyond half precision's range; names segment and tensor.
    """
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            _check_range(segment, tensor)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        half = convert_float_to_float16(model, keep_io_types=True)
    ONNXModel(half).topological_sort()  # it puts the casts of inputs last
    onnx.checker.check_model(half, full_check=True)
    return half


def _check_range(segment: str, tensor: TensorProto) -> None:
    values = np.abs(numpy_helper.to_array(tensor))
    if not (values <= LARGEST).all():
        problem = f"{tensor.name} holds {values.max():g}, half precision ends at {LARGEST:g}"
        remedy = "export without --variants fp16, or train with weight decay until weights are smaller"
        raise UsageError(f"segment {segment}", problem, remedy)
