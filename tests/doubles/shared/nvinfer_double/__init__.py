"""TensorRT's Python interface as doubles. Each release's `tensorrt` says which of the members here it has.

Parsing is done with `onnx`, running with ONNX Runtime on the CPU. Error texts are those that public bug reports quote,
shortened; log levels are the real ones where a report shows them.
"""
