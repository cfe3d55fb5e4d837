"""SavedModel to ONNX, FP16 or INT8 ONNX, TensorRT engine and CPU target, with parity and speed."""
