"""Which shapes a model's values have for given shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class BadShapes(Exception):
    """The model does not take inputs of these shapes."""


def shape_of(value) -> tuple[int, ...]:
    """-1 for what is only known at run time."""
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


def inferred(model: bytes, inputs: Mapping[str, Sequence[int]]) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    """The model with inputs of these shapes (-1: free), and the shapes of all its values by their names.

    Raises:
        BadShapes: it does not take them.
    """
    import onnx

    proto = onnx.load_from_string(model)
    for value in proto.graph.input:
        if value.name in inputs:
            _give(value, inputs[value.name])
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as problem:
        raise BadShapes(" ".join(str(problem).split())) from None
    values = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    return proto.SerializeToString(), {v.name: shape_of(v) for v in values}


def _give(value, shape: Sequence[int]) -> None:
    """A free size keeps its name, so that inputs which share one still do."""
    names = [dim.dim_param for dim in value.type.tensor_type.shape.dim]
    names += [""] * (len(shape) - len(names))
    value.type.tensor_type.shape.Clear()
    for axis, size in enumerate(shape):
        dim = value.type.tensor_type.shape.dim.add()
        if size >= 0:
            dim.dim_value = size
        else:
            dim.dim_param = names[axis] or f"{value.name}_{axis}"
