"""TensorRT 8.6.1. Sources: NVIDIA's Python API reference, archive 8.6.1; release/8.6 of TensorRT's open source,
python/src/infer; NvInfer.h of 8.6 for numbers; the ONNX parser's changelog for operators since 8.5.

Since 8.4 there are memory pools, since 8.5 tensors beside bindings, since 8.6 optimisation levels. What was deprecated
since 8.2 is still there.
"""

from nvinfer_double import helpers
from nvinfer_double.helpers import init_libnvinfer_plugins, nptype, volume  # noqa: F401
from nvinfer_double.strict import Release, compose, enumeration
from nvinfer_double.surface import SHARED, surface

__version__ = "8.6.1"

ENUMS = {
    "BuilderFlag": """FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS
        SAFETY_SCOPE OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS
        ENABLE_TACTIC_HEURISTIC VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME FP8""",
    "CalibrationAlgoType": "LEGACY_CALIBRATION ENTROPY_CALIBRATION ENTROPY_CALIBRATION_2 MINMAX_CALIBRATION",
    "DataType": "FLOAT HALF INT8 INT32 BOOL UINT8 FP8",
    "DeviceType": "GPU DLA",
    "ErrorCode": """SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH
        INVALID_NODE UNSUPPORTED_GRAPH UNSUPPORTED_NODE""",
    "LayerInformationFormat": "ONELINE JSON",
    "LayerType": """CONVOLUTION FULLY_CONNECTED ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION
        ELEMENTWISE PLUGIN UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT RNN_V2
        IDENTITY PLUGIN_V2 SLICE SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL
        QUANTIZE DEQUANTIZE CONDITION CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION ONE_HOT NON_ZERO
        GRID_SAMPLE NMS REVERSE_SEQUENCE NORMALIZATION CAST""",
    "MemoryPoolType": "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM",
    "NetworkDefinitionCreationFlag": "EXPLICIT_BATCH EXPLICIT_PRECISION",
    "ProfilingVerbosity": "LAYER_NAMES_ONLY NONE DETAILED DEFAULT=0 VERBOSE=2",
    "TensorIOMode": "NONE INPUT OUTPUT",
    "TensorLocation": "DEVICE HOST",
}
BINDINGS = """num_bindings max_batch_size get_binding_name get_binding_index get_binding_shape get_binding_dtype
    binding_is_input get_profile_shape"""
TENSORS = """num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype get_tensor_location
    get_tensor_profile_shape"""

more = frozenset(["GroupNormalization", "IsInf", "LayerNormalization"])
release = Release((8, 6, 1), operators="8.5", opset=17, more=more)
enums = {name: enumeration(name, members) for name, members in ENUMS.items()}
added = surface(
    Builder="max_batch_size build_engine",
    IBuilderConfig="max_workspace_size set_memory_pool_limit get_memory_pool_limit builder_optimization_level",
    ICudaEngine=f"{BINDINGS} {TENSORS}",
    IExecutionContext="""execute_async_v2 get_binding_shape set_binding_shape set_tensor_address get_tensor_address
        get_tensor_shape set_input_shape execute_async_v3""",
    ILayer="metadata",
)
globals().update(compose(release, enums, SHARED, added))
globals().update(helpers.short_names(enums["DataType"]))
del ENUMS, BINDINGS, TENSORS, added, compose, enumeration, enums, helpers, more, release, surface, Release, SHARED
