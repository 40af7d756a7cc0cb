"""A trained model to a verified bundle of ONNX segments."""
