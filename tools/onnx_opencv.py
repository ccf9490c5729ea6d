"""Runs an ONNX model in the OpenCV that this Python imports: python tools/onnx_opencv.py MODEL.onnx BATCH.npy OUT.npz

OUT.npz then holds each output by its name, and `version`. Only OpenCV and numpy are needed.
"""

import sys

import cv2
import numpy as np


def main(model, batch, out):
    net = cv2.dnn.readNetFromONNX(model)
    net.setInput(np.load(batch), "data")
    names = list(net.getUnconnectedOutLayersNames())
    np.savez(out, version=np.array(cv2.__version__), **dict(zip(names, net.forward(names))))


if __name__ == "__main__":
    main(*sys.argv[1:])
