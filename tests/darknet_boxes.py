"""Runs a net in a real Darknet's library and writes the boxes it finds; a program, as Darknet may abort.

    python darknet_boxes.py LIBRARY CFG WEIGHTS IMAGE.npy CLASSES THRESHOLD NMS KIND BETA OUT.json [W H | alexeyab]

IMAGE is float32 [C, H, W]. Boxes are cx, cy, w, h as shares of the image, with a confidence for each class; those
without any are left out. With W and H they are shares of an image of that size which was letterboxed. NMS 0
suppresses nothing; KIND and BETA are AlexeyAB's nms_kind (a number) and beta_nms.
"""

import ctypes
import json
import sys

import numpy as np

FLOATS = ctypes.POINTER(ctypes.c_float)


class Detection(ctypes.Structure):
    _fields_ = [
        ("box", ctypes.c_float * 4),
        ("classes", ctypes.c_int),
        ("prob", FLOATS),
        ("mask", FLOATS),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
    ]


class ForkDetection(ctypes.Structure):
    _fields_ = [
        ("box", ctypes.c_float * 4),
        ("classes", ctypes.c_int),
        ("best_class", ctypes.c_int),
        ("prob", FLOATS),
        ("mask", FLOATS),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
        ("uc", FLOATS),
        ("points", ctypes.c_int),
        ("embeddings", FLOATS),
        ("embedding_size", ctypes.c_int),
        ("sim", ctypes.c_float),
        ("track_id", ctypes.c_int),
    ]


def boxes(path, cfg, weights, image, classes, threshold, nms, kind, beta, size, fork):
    library = ctypes.CDLL(path)
    library.load_network.restype = ctypes.c_void_p
    library.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    net = ctypes.c_void_p(library.load_network(cfg.encode(), weights.encode(), 0))
    predict = library.network_predict_ptr if fork else library.network_predict
    predict.argtypes, predict.restype = [ctypes.c_void_p, FLOATS], FLOATS
    image = np.ascontiguousarray(image, np.float32)
    predict(net, image.ctypes.data_as(FLOATS))
    kinds = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_float, ctypes.c_float, ctypes.c_void_p]
    kinds += [ctypes.c_int, ctypes.POINTER(ctypes.c_int)] + [ctypes.c_int] * fork
    find = library.get_network_boxes
    find.argtypes, find.restype = kinds, ctypes.POINTER(ForkDetection if fork else Detection)
    count = ctypes.c_int(0)
    found = find(net, size[0], size[1], threshold, 0.5, None, 1, ctypes.byref(count), *([0] * fork))
    if nms and count.value:
        if kind:
            call = library.diounms_sort
            call.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 2 + [ctypes.c_float, ctypes.c_int, ctypes.c_float]
            call(found, count.value, classes, nms, kind, beta)
        else:
            call = library.do_nms_sort
            call.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 2 + [ctypes.c_float]
            call(found, count.value, classes, nms)
    rows = []
    for one in found[: count.value]:
        scores = one.prob[:classes]
        if any(scores):
            rows.append([list(one.box), scores])
    return sorted(rows)


if __name__ == "__main__":
    library, cfg, weights, image, classes, threshold, nms, kind, beta, out = sys.argv[1:11]
    numbers = int(classes), float(threshold), float(nms), int(kind), float(beta)
    pixels, more = np.load(image), sys.argv[11:]
    size = [int(word) for word in more] if len(more) == 2 else pixels.shape[:0:-1]
    result = boxes(library, cfg, weights, pixels, *(numbers + (size, int(more == ["alexeyab"]))))
    with open(out, "w") as stream:
        json.dump(result, stream)
