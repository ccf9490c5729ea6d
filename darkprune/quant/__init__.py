"""INT8: ranges of tensors, their calibration, and nets of integers."""
