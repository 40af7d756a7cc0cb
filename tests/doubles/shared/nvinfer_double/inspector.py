"""What an engine's layers look like. Sources: the developer guide, Engine Inspector, with an example of 8.2; for 8.6
and 10 layer reports in public repositories; the formats' names as NVIDIA's Engine Explorer knows them.

From 8.6 on a tensor has a Location, a layer a StreamId and Metadata with the ONNX nodes that it came from. In 10,
formats are named by their type alone.
"""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import json

from .strict import RELEASE, NoConstructor

SHORT = {"fp32": "Float", "fp16": "Half", "int8": "Int8", "int32": "Int32", "int64": "Int64", "bool": "Bool"}
ROW_MAJOR = {
    "fp32": "Row major linear FP32",
    "fp16": "Row major linear FP16 format",
    "int8": "Row major Int8 format",
    "int32": "Row major linear INT32",
    "bool": "Row major linear BOOL",
}
KINDS = {
    "Conv": ("CaskConvolution", "Convolution"),
    "MatMul": ("MatrixMultiply", "MatrixMultiply"),
    "Gemm": ("MatrixMultiply", "MatrixMultiply"),
    "MaxPool": ("CaskPooling", "Pooling"),
    "AveragePool": ("CaskPooling", "Pooling"),
    "GlobalAveragePool": ("CaskPooling", "Pooling"),
    "Softmax": ("SoftMax", "SoftMax"),
    "Concat": ("Concatenation", "Concatenation"),
    "Reshape": ("Shuffle", "Shuffle"),
    "Transpose": ("Shuffle", "Shuffle"),
    "Slice": ("Slice", "Slice"),
    "ReduceMean": ("Reduce", "Reduce"),
    "Reformat": ("Reformat", "Reformat"),
}
FLOATS = ("fp32", "fp16", "int8")
NODES_BETWEEN = "\x1e"


class EngineInspector(NoConstructor):
    """How much it tells was decided when the engine was built: ProfilingVerbosity."""

    __slots__ = ("_engine", "_context")

    @property
    def execution_context(self) -> IExecutionContext | None:
        return self._context

    @execution_context.setter
    def execution_context(self, context: IExecutionContext | None) -> None:
        self._context = context

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:
        return self._text(self._layers()[layer_index], format)

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        names = [io["name"] for io in self._engine._head["io"]]
        if format.name == "JSON":
            return json.dumps({"Layers": self._layers(), "Bindings": names}, indent=1)
        return "\n".join(["Layers:", *(self._text(layer, format) for layer in self._layers()), "Bindings:", *names])

    def _text(self, layer: object, format: LayerInformationFormat) -> str:
        if format.name == "JSON":
            return json.dumps(layer)
        return layer if isinstance(layer, str) else ", ".join(f"{key}: {value}" for key, value in layer.items())

    def _layers(self) -> list:
        head = self._engine._head
        if head["verbosity"] == "NONE":
            return []
        layers = head["layers"]
        if head["verbosity"] == "LAYER_NAMES_ONLY":
            return [layer["name"] for layer in layers]
        makers = {name: layer["precision"] for layer in layers for name in layer["outputs"]}
        return [_detailed(layer, head, makers) for layer in layers]


def _detailed(layer: dict, head: dict, makers: dict[str, str]) -> dict:
    kind, parameters = KINDS.get(layer["op"], ("PointWiseV2", "PointWise"))
    if RELEASE.version >= (10, 0, 0) and kind == "PointWiseV2":
        kind, parameters = "kgen", "Myelin"
    result = {
        "Name": layer["name"],
        "LayerType": kind,
        "Inputs": [_tensor(name, head, _read(name, layer, head, makers), layer) for name in layer["inputs"]],
        "Outputs": [_tensor(name, head, layer["precision"], layer) for name in layer["outputs"]],
        "ParameterType": parameters,
        "TacticValue": "0x0000000000000000",
    }
    if RELEASE.version >= (8, 6, 0):
        metadata = NODES_BETWEEN.join(f"[ONNX Layer: {node}]" for node in layer["nodes"])
        result.update(StreamId=0, Metadata=metadata)
    return result


def _read(name: str, layer: dict, head: dict, makers: dict[str, str]) -> str:
    """What a layer reads an input in: numbers in what it computes in, a copy in front converts them."""
    made = makers.get(name) or _given(name, head)
    converted = layer["op"] != "Reformat" and made in FLOATS and layer["precision"] in FLOATS
    return layer["precision"] if converted else made


def _given(name: str, head: dict) -> str:
    """The precision of an input of the network."""
    types = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
    return types[next((io["type"] for io in head["io"] if io["onnx"] == name), "FLOAT")]


def _tensor(name: str, head: dict, precision: str, layer: dict) -> dict:
    shape = head["shapes"].get(name) or head["shapes"].get(layer.get("of", ""), [])
    place = {"Location": "Device"} if RELEASE.version >= (8, 6, 0) else {}
    return {"Name": name, **place, "Dimensions": shape, "Format/Datatype": _format(precision, shape, head)}


def _format(precision: str, shape: list[int], head: dict) -> str:
    if RELEASE.version >= (10, 0, 0):
        return SHORT[precision]
    if len(shape) == 4 and precision == "int8":
        return "Four wide channel vectorized row major Int8 format"
    if len(shape) == 4 and precision == "fp16":
        tensor_cores = head["capability"] >= [7, 0]
        wide = "Two wide channel vectorized row major FP16 format"
        return "Channel major FP16 format where channel % 8 == 0" if tensor_cores else wide
    return ROW_MAJOR[precision]
