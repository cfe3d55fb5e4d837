"""SavedModel to ONNX, FP16 ONNX, TensorRT engine and the CPU target, with a parity report."""
