"""Bundle segments to TensorRT engines, built on the device."""
