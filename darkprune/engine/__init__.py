"""TensorRT engines of nets: precision, targets, building."""
