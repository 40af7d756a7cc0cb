"""TensorRT 8.2.1, as on the Jetson Nano (JetPack 4.6.1). Sources: NVIDIA's Python API reference, archive 8.2.1;
release/8.2 of TensorRT's open source, python/src/infer; NvInfer.h of 8.2 for numbers.

STRICT_TYPES is deprecated since 8.2, for three new flags: PREFER_PRECISION_CONSTRAINTS, DIRECT_IO and
REJECT_EMPTY_ALGORITHMS; OBEY_PRECISION_CONSTRAINTS is the stronger form of the first. (These four are in the C++ API of
8.2's final releases; the open-source binding that was found for 8.2 has them not, so it may be of the early access.)
Device memory is given as a capsule: the reference calls it so, and that binding hands on a `void*`; 8.5's takes an int.
"""

from nvinfer_double import helpers
from nvinfer_double.helpers import init_libnvinfer_plugins, nptype, volume  # noqa: F401
from nvinfer_double.strict import Release, compose, enumeration
from nvinfer_double.surface import SHARED, surface

__version__ = "8.2.1.8"

ENUMS = {
    "BuilderFlag": """FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS
        SAFETY_SCOPE OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS""",
    "CalibrationAlgoType": "LEGACY_CALIBRATION ENTROPY_CALIBRATION ENTROPY_CALIBRATION_2 MINMAX_CALIBRATION",
    "DataType": "FLOAT HALF INT8 INT32 BOOL",
    "DeviceType": "GPU DLA",
    "ErrorCode": """SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH
        INVALID_NODE UNSUPPORTED_GRAPH UNSUPPORTED_NODE""",
    "LayerInformationFormat": "ONELINE JSON",
    "LayerType": """CONVOLUTION FULLY_CONNECTED ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION
        ELEMENTWISE PLUGIN UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT RNN_V2
        IDENTITY PLUGIN_V2 SLICE SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL
        QUANTIZE DEQUANTIZE CONDITION CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION""",
    "NetworkDefinitionCreationFlag": "EXPLICIT_BATCH EXPLICIT_PRECISION",
    "ProfilingVerbosity": "LAYER_NAMES_ONLY NONE DETAILED DEFAULT=0 VERBOSE=2",
    "TensorLocation": "DEVICE HOST",
}
BINDINGS = """num_bindings max_batch_size get_binding_name get_binding_index get_binding_shape get_binding_dtype
    binding_is_input get_profile_shape"""

release = Release((8, 2, 1), operators="8.2", opset=13, capsule=True)
enums = {name: enumeration(name, members) for name, members in ENUMS.items()}
added = surface(
    Builder="max_batch_size build_engine",
    IBuilderConfig="max_workspace_size",
    ICudaEngine=BINDINGS,
    IExecutionContext="execute_async_v2 get_binding_shape set_binding_shape",
)
globals().update(compose(release, enums, SHARED, added))
globals().update(helpers.short_names(enums["DataType"]))
del ENUMS, BINDINGS, added, compose, enumeration, enums, helpers, release, surface, Release, SHARED
