"""A quantized ONNX graph rewritten, pass by pass, as a target's kernels want it."""
