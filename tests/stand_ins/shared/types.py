"""Enumerations that both releases have; what only one has stands in its package. Values are those of NvInfer.h."""

import numpy as np
from tensorrt.native import members

ActivationType = members(
    "ActivationType",
    "RELU SIGMOID TANH LEAKY_RELU ELU SELU SOFTSIGN SOFTPLUS CLIP HARD_SIGMOID SCALED_TANH THRESHOLDED_RELU",
)
ElementWiseOperation = members(
    "ElementWiseOperation", "SUM PROD MAX MIN SUB DIV POW FLOOR_DIV AND OR XOR EQUAL GREATER LESS"
)
GatherMode = members("GatherMode", "DEFAULT ELEMENT ND")
LayerInformationFormat = members("LayerInformationFormat", "ONELINE JSON")
MatrixOperation = members("MatrixOperation", "NONE TRANSPOSE VECTOR")
PoolingType = members("PoolingType", "MAX AVERAGE MAX_AVERAGE_BLEND")
ReduceOperation = members("ReduceOperation", "SUM PROD MAX MIN AVG")
ResizeCoordinateTransformation = members("ResizeCoordinateTransformation", "ALIGN_CORNERS ASYMMETRIC HALF_PIXEL")
ResizeRoundMode = members("ResizeRoundMode", "HALF_UP HALF_DOWN FLOOR CEIL")
ResizeSelector = members("ResizeSelector", "FORMULA UPPER")
ScaleMode = members("ScaleMode", "UNIFORM CHANNEL ELEMENTWISE")
TensorLocation = members("TensorLocation", "DEVICE HOST")

NUMPY = {  # by the name of a DataType
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}
FLOATS = ("FLOAT", "HALF")
