"""Networks, layers, tensors. Source: NVIDIA's Python API reference, Network (INetworkDefinition, ILayer, ITensor)."""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

from .log import error, misuse
from .shapes import BadShapes, inferred
from .strict import NoConstructor, member


class Dims:
    """A shape; compares with tuples, but is none. Source: Foundational Types, Dims."""

    __slots__ = ("_sizes",)
    MAX_DIMS = 8

    def __init__(self, shape: Dims = ()) -> None:
        self._sizes = tuple(int(size) for size in shape)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: object):
        return self._sizes[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, tuple, Dims)) and tuple(other) == self._sizes

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._sizes)


class ITensor(NoConstructor):
    """A value of a network. Types other than of inputs and outputs are inferred: this double refuses to set them."""

    __slots__ = ("_name", "_onnx", "_shape", "_type", "_role", "_range", "_network")

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def shape(self) -> Dims:
        self._network._infer()
        return Dims(self._shape)

    @shape.setter
    def shape(self, shape: Dims) -> None:
        """The application gives network inputs theirs, before the build; all others follow from these."""
        if self._role != "input":
            misuse(self._network._logger, f"ITensor::setDimensions: {self._name} is no network input")
            return
        self._shape, self._network._changed = tuple(int(size) for size in shape), True

    @property
    def dtype(self):
        return self._type

    @dtype.setter
    def dtype(self, dtype: DataType) -> None:
        if self._role is None:
            raise RuntimeError(f"the type of {self._name}, neither input nor output, is inferred")
        self._type = dtype

    @property
    def is_network_input(self) -> bool:
        return self._role == "input"

    @property
    def is_network_output(self) -> bool:
        return self._role == "output"

    @property
    def is_shape_tensor(self) -> bool:
        return False

    @property
    def is_execution_tensor(self) -> bool:
        return True

    @property
    def dynamic_range(self) -> tuple[float, float] | None:
        return self._range

    @dynamic_range.setter
    def dynamic_range(self, dynamic_range: object) -> None:
        low, high = dynamic_range
        self._range = float(low), float(high)

    def set_dynamic_range(self, min: float, max: float) -> bool:
        self._range = float(min), float(max)
        return True

    def reset_dynamic_range(self) -> None:
        self._range = None


class ILayer(NoConstructor):
    """A layer. Precisions are wishes, which BuilderFlags turn into constraints; networks that are strongly typed take
    none (INetworkDefinition flags, STRONGLY_TYPED; that it is logged as API misuse is this double's guess)."""

    __slots__ = ("_name", "_op", "_type", "_inputs", "_outputs", "_precision", "_wanted", "_network", "_metadata")

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def metadata(self) -> str:
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: str) -> None:
        self._metadata = metadata

    @property
    def type(self):
        return self._type

    @property
    def precision(self):
        return self._precision or member("DataType", "FLOAT")

    @precision.setter
    def precision(self, precision: DataType) -> None:
        if self._weakly_typed("setPrecision"):
            self._precision = precision

    @property
    def precision_is_set(self) -> bool:
        return self._precision is not None

    def reset_precision(self) -> None:
        self._precision = None

    def set_output_type(self, index: int, dtype: DataType) -> None:
        if self._weakly_typed("setOutputType") and self._tensor(self._outputs, index):
            self._wanted[index] = dtype

    def get_output_type(self, index: int):
        return self._wanted.get(index, self._outputs[index]._type) if self._tensor(self._outputs, index) else None

    def output_type_is_set(self, index: int) -> bool:
        return index in self._wanted

    def reset_output_type(self, index: int) -> None:
        self._wanted.pop(index, None)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> ITensor | None:
        return self._tensor(self._inputs, index)

    def get_output(self, index: int) -> ITensor | None:
        return self._tensor(self._outputs, index)

    def _tensor(self, tensors: list, index: int) -> ITensor | None:
        """None, and an error in the log, for a number too high or low."""
        if 0 <= index < len(tensors):
            return tensors[index]
        misuse(self._network._logger, f"invalid tensor index {index} of layer {self._name}")
        return None

    def _weakly_typed(self, function: str) -> bool:
        if self._network._typed:
            misuse(self._network._logger, f"ILayer::{function}: network {self._network._name} is strongly typed")
        return not self._network._typed


class INetworkDefinition(NoConstructor):
    """A network, which only the ONNX parser fills."""

    __slots__ = ("_logger", "_name", "_flags", "_typed", "_explicit", "_layers", "_inputs", "_outputs", "_model")
    __slots__ += ("_changed",)

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def flags(self) -> int:
        return self._flags

    def get_flag(self, flag: NetworkDefinitionCreationFlag) -> bool:
        return bool(self._flags >> int(flag) & 1)

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return not self._explicit

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_layer(self, index: int) -> ILayer | None:
        return self._at(self._layers, index)

    def get_input(self, index: int) -> ITensor | None:
        return self._at(self._inputs, index)

    def get_output(self, index: int) -> ITensor | None:
        return self._at(self._outputs, index)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> ILayer:
        return self._layers[index]

    def _infer(self) -> bool:
        """All shapes anew, if one of an input was set. False, with an error in the log, if they contradict."""
        if not self._changed:
            return True
        try:
            self._model, shapes = inferred(self._model, {t._onnx: t._shape for t in self._inputs})
        except BadShapes as problem:
            error(self._logger, f"4: Error Code 4: Internal Error (invalid shapes: {problem})")
            return False
        for tensor in {t._onnx: t for layer in self._layers for t in (*layer._inputs, *layer._outputs)}.values():
            tensor._shape = shapes.get(tensor._onnx, ())
        self._changed = False
        return True

    def _at(self, things: list, index: int):
        if 0 <= index < len(things):
            return things[index]
        misuse(self._logger, f"invalid index {index} into network {self._name}")
        return None
