"""TensorRT 10.3.0, as in JetPack 6.1. Sources: NVIDIA's Python API reference of 10.3; release/10.3 of TensorRT's open
source, python/src/infer; NvInfer.h of 10.3 for numbers; the ONNX parser's changelog for operators since 8.5.

Bindings, implicit batches and all that was deprecated until 8.x are gone; INT64 is a type of its own.
"""

from nvinfer_double import helpers
from nvinfer_double.helpers import init_libnvinfer_plugins, nptype, volume  # noqa: F401
from nvinfer_double.strict import Release, compose, enumeration
from nvinfer_double.surface import SHARED, surface

__version__ = "10.3.0"

ENUMS = {
    "BuilderFlag": """FP16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE
        OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS VERSION_COMPATIBLE
        EXCLUDE_LEAN_RUNTIME FP8 ERROR_ON_TIMING_CACHE_MISS BF16 DISABLE_COMPILATION_CACHE STRIP_PLAN WEIGHTLESS=19
        REFIT_IDENTICAL WEIGHT_STREAMING INT4 REFIT_INDIVIDUAL STRICT_NANS""",
    "CalibrationAlgoType": "LEGACY_CALIBRATION ENTROPY_CALIBRATION ENTROPY_CALIBRATION_2 MINMAX_CALIBRATION",
    "DataType": "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4",
    "DeviceType": "GPU DLA",
    "ErrorCode": """SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH
        INVALID_NODE UNSUPPORTED_GRAPH UNSUPPORTED_NODE UNSUPPORTED_NODE_ATTR UNSUPPORTED_NODE_INPUT
        UNSUPPORTED_NODE_DATATYPE UNSUPPORTED_NODE_DYNAMIC UNSUPPORTED_NODE_SHAPE REFIT_FAILED""",
    "ExecutionContextAllocationStrategy": "STATIC ON_PROFILE_CHANGE USER_MANAGED",
    "LayerInformationFormat": "ONELINE JSON",
    "LayerType": """CONVOLUTION CAST ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE
        PLUGIN UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT IDENTITY PLUGIN_V2 SLICE
        SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL QUANTIZE DEQUANTIZE
        CONDITION CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION ONE_HOT NON_ZERO GRID_SAMPLE NMS
        REVERSE_SEQUENCE NORMALIZATION PLUGIN_V3""",
    "MemoryPoolType": "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM TACTIC_SHARED_MEMORY",
    "NetworkDefinitionCreationFlag": "EXPLICIT_BATCH STRONGLY_TYPED",
    "ProfilingVerbosity": "LAYER_NAMES_ONLY NONE DETAILED",
    "TensorIOMode": "NONE INPUT OUTPUT",
    "TensorLocation": "DEVICE HOST",
}
TENSORS = """num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype get_tensor_location
    get_tensor_profile_shape"""

more = frozenset(["DeformConv", "GroupNormalization", "Hardmax", "IsInf", "LayerNormalization"])
release = Release((10, 3, 0), operators="8.5", opset=20, more=more, int64=True, explicit_batch=False)
enums = {name: enumeration(name, members) for name, members in ENUMS.items()}
added = surface(
    IBuilderConfig="set_memory_pool_limit get_memory_pool_limit builder_optimization_level",
    ICudaEngine=f"{TENSORS} device_memory_size_v2",
    IExecutionContext="""set_device_memory set_tensor_address get_tensor_address get_tensor_shape set_input_shape
        execute_async_v3""",
    ILayer="metadata",
    INetworkDefinition="flags get_flag",
    ParserError="node_name node_operator",
)
globals().update(compose(release, enums, SHARED, added))
globals().update(helpers.short_names(enums["DataType"]))
del ENUMS, TENSORS, added, compose, enumeration, enums, helpers, more, release, surface, Release, SHARED
