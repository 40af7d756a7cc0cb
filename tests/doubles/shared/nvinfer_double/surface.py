"""The members that all three releases have, by class. A release's `tensorrt` adds its own.

Source: the class pages of NVIDIA's Python API reference, archives 8.2.1, 8.6.1 and 10.3.0.
"""

from __future__ import annotations

from . import builder, calibration, config, context, inspector, log, network, parser, runtime

FULL = {
    "Builder": builder.Builder,
    "EngineInspector": inspector.EngineInspector,
    "IBuilderConfig": config.IBuilderConfig,
    "ICudaEngine": runtime.ICudaEngine,
    "IExecutionContext": context.IExecutionContext,
    "IHostMemory": builder.IHostMemory,
    "ILayer": network.ILayer,
    "INetworkDefinition": network.INetworkDefinition,
    "IOptimizationProfile": config.IOptimizationProfile,
    "ITensor": network.ITensor,
    "ITimingCache": config.ITimingCache,
    "OnnxParser": parser.OnnxParser,
    "ParserError": parser.ParserError,
    "Runtime": runtime.Runtime,
}
# Classes that users derive from, and values: the same in all releases.
SHARED = {
    "Dims": network.Dims,
    "IInt8Calibrator": calibration.IInt8Calibrator,
    "IInt8EntropyCalibrator2": calibration.IInt8EntropyCalibrator2,
    "ILogger": log.ILogger,
    "Logger": log.Logger,
}
ALWAYS = {
    "Builder": """logger create_network create_builder_config create_optimization_profile build_serialized_network
        platform_has_fast_fp16 platform_has_fast_int8 platform_has_tf32 num_DLA_cores max_DLA_batch_size""",
    "EngineInspector": "execution_context get_layer_information get_engine_information",
    "IBuilderConfig": """flags set_flag clear_flag get_flag int8_calibrator default_device_type DLA_core
        profiling_verbosity avg_timing_iterations num_optimization_profiles add_optimization_profile
        set_calibration_profile get_calibration_profile
        create_timing_cache set_timing_cache get_timing_cache""",
    "ICudaEngine": """name num_layers num_optimization_profiles refittable profiling_verbosity device_memory_size
        has_implicit_batch_dimension serialize create_engine_inspector create_execution_context
        create_execution_context_without_device_memory""",
    "IExecutionContext": """engine name active_optimization_profile device_memory execute_v2
        all_binding_shapes_specified""",
    "IHostMemory": "nbytes dtype",
    "ILayer": """name type precision precision_is_set reset_precision set_output_type get_output_type
        output_type_is_set reset_output_type num_inputs num_outputs get_input get_output""",
    "INetworkDefinition": """name has_implicit_batch_dimension num_layers num_inputs num_outputs get_layer get_input
        get_output""",
    "IOptimizationProfile": "set_shape get_shape",
    "ITensor": """name shape dtype is_network_input is_network_output is_shape_tensor is_execution_tensor dynamic_range
        set_dynamic_range reset_dynamic_range""",
    "ITimingCache": "serialize combine reset",
    "OnnxParser": "parse num_errors get_error clear_errors",
    "ParserError": "code desc file line func node",
    "Runtime": "logger num_DLA_cores DLA_core deserialize_cuda_engine",
}


def surface(**added: str) -> dict[str, tuple[type, str]]:
    """For `strict.compose`: each class with the members of all releases and those added here."""
    return {name: (full, f"{ALWAYS[name]} {added.get(name, '')}") for name, full in FULL.items()}
