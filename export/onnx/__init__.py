"""What turns a torch graph into an ONNX file, and its INT8 into what a target is fast on."""
