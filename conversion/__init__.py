"""SavedModel to ONNX, FP16 or INT8 ONNX, TensorRT engine and CPU target; parity and speed of each."""
