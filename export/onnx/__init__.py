"""ONNX files: a torch graph translated, and its INT8 laid out for a target."""
