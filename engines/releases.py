"""What differs between the releases of TensorRT. No other module asks for a version number.

A class per interface: 8.2 (JetPack 4.6), 8.4 to 8.6 (JetPack 5), 10 (JetPack 6, in `tlee.engines.interface`), 11 and
TensorRT-RTX. `load` chooses.
"""

import ctypes
import importlib
import re
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Type

from tlee.engines.interface import REPORT, Binding, TensorRT
from tlee.errors import EngineError, UsageError

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
INSTALL = {
    "tensorrt": "it comes with JetPack; in a virtual environment, make that with --system-site-packages",
    "rtx": "pip install tensorrt_rtx",
}


class TensorRT8(TensorRT):
    """8.4 to 8.6: networks with an explicit batch on request, bindings by number instead of name."""

    if TYPE_CHECKING:
        trt: Any  # the stubs are those of 10

    def _network(self, builder: Any, onnx: bytes, flags: int = 0) -> Any:
        return super()._network(builder, onnx, 1 << int(self.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def values(self, engine: Any) -> List[Binding]:
        return [
            Binding(engine.get_binding_name(i), tuple(engine.get_binding_shape(i)), engine.binding_is_input(i))
            for i in range(engine.num_bindings)
        ]

    def scratch(self, engine: Any) -> int:
        return engine.device_memory_size

    def context(self, engine: Any, scratch: int, size: int) -> Any:
        context = engine.create_execution_context_without_device_memory()
        try:
            context.device_memory = scratch
        except TypeError:  # 8.2 and perhaps 8.4 take pointers only as Python's C interface hands them on
            new = ctypes.pythonapi.PyCapsule_New
            new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
            context.device_memory = new(scratch, None, None)
        return context

    def _set_shape(self, context: Any, number: int, value: Binding, batch: int) -> bool:
        return context.set_binding_shape(number, (batch,) + value.shape[1:])

    def enqueue(self, context: Any, values: List[Binding], addresses: Dict[str, int], stream: int) -> None:
        if not context.execute_async_v2([addresses[value.name] for value in values], stream):
            raise EngineError(self.name, f"does not run: {self._said()}", REPORT)


class TensorRT82(TensorRT8):
    """8.2 and 8.3, as on the Jetson Nano: the workspace has an attribute of its own."""

    def _set_workspace(self, config: Any, size: int) -> None:
        config.max_workspace_size = size


class TensorRT11(TensorRT):
    """From 11 on, precision is what the ONNX says; flags, constraints and calibration are gone."""

    typed = True
    calibrates = False

    def fast(self) -> Dict[str, bool]:
        return {"fp16": True, "int8": True}  # no GPU that it supports lacks them


class TensorRTRTX(TensorRT11):
    """Compiles for all RTX GPUs at once, on any machine, without timing anything: the GPU's driver does the rest."""

    product = "TensorRT-RTX"
    portable = True

    def _set_timing(self, config: Any, timing: Optional[bytes]) -> Any:
        return None


INTERFACES: Dict[str, List[Tuple[Tuple[int, int], Optional[Type[TensorRT]]]]] = {  # by the first release that has it
    "tensorrt": [
        ((8, 2), TensorRT82),
        ((8, 4), TensorRT8),
        ((9, 0), None),  # not supported: it lacks what is asked of 10.1 here
        ((10, 1), TensorRT),
        ((11, 0), TensorRT11),
    ],
    "rtx": [((1, 0), TensorRTRTX)],
}


def load(target: str) -> TensorRT:
    """The installed TensorRT of a target of MODULES. Raises UsageError where there is none that is supported."""
    name, known = MODULES[target], INTERFACES[target]
    try:
        module = importlib.import_module(name)
        version = str(module.__version__)  # type stubs alone look like a module without contents
    except (ImportError, AttributeError):
        raise UsageError(name, "not installed", INSTALL[target]) from None
    numbers, (major, minor) = tuple(map(int, re.findall(r"[0-9]+", version)[:2])), known[0][0]
    if numbers < (major, minor):
        problem = f"release {version}, the oldest that is supported is {major}.{minor}"
        raise UsageError(name, problem, "on a Jetson Nano, install JetPack 4.6.1 or later")
    interface = [interface for since, interface in known if since <= numbers][-1]
    if interface is None:
        problem = f"release {version}, supported are 8.2 to 8.6, and 10.1 and later"
        raise UsageError(name, problem, "install one of these")
    release, newest = interface(module), known[-1][0][0]
    if numbers[0] > newest:
        text = f"{release.name} is newer than the newest known here, {newest}: built with the interface of that one"
        release.notes.append(text)
    return release
