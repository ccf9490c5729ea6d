"""Metadata and extras of darkprune; readable by Python 3.6 with setuptools 39."""

import io
import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def version():
    """The version, read from the text of version.py: importing the package would need numpy."""
    with io.open(os.path.join(HERE, "darkprune", "version.py"), encoding="utf-8") as file:
        return re.search(r'^__version__ = "([^"]+)"$', file.read(), re.MULTILINE).group(1)


OPENCV = [
    'opencv-python-headless>=4.1,<5; python_version>="3.7"',
    # the last one with a wheel for Python 3.6
    'opencv-python-headless>=4.1,<4.7; python_version<"3.7"',
]

# COCO's AP, on a workstation; Darknet's map needs nothing
EVAL = ['faster-coco-eval>=1.6; python_version>="3.10"']

# 1.16 of onnx is the last for Python 3.8, 1.14 that for 3.7
ONNX = ['onnx>=1.12; python_version>="3.7"', 'onnxruntime>=1.14; python_version>="3.7"']

TORCH = ['torch>=2.1; python_version>="3.9"']

# draws the chart of a training
CHART = ['matplotlib>=3.5; python_version>="3.9"']

# searches several knobs of pruning at once
SEARCH = ['optuna>=3.0; python_version>="3.8"']

# builds engines for RTX GPUs on a machine without a GPU
RTX = [
    package + '>=1.7; python_version>="3.8" and sys_platform=="linux" and platform_machine=="x86_64"'
    for package in ("tensorrt_rtx_cu12_libs", "tensorrt_rtx_cu12_bindings")
]

# What runs engines. TensorRT itself is not here: it comes with JetPack or NVIDIA's packages, made for that device.
TENSORRT = [
    'pycuda>=2020.1; python_version>="3.8"',
    # the last one that builds on JetPack 4.6
    'pycuda>=2020.1,<2021.1; python_version<"3.8"',
]

EXTRAS = {
    "opencv": OPENCV,
    "eval": EVAL,
    "torch": TORCH,
    "onnx": ONNX,
    "train": TORCH + OPENCV + CHART,
    "search": SEARCH,
    "rtx": RTX,
    "tensorrt": TENSORRT,
    "dev": [
        'pytest>=7.0.1; python_version>="3.7"',
        'pytest>=7.0.1,<7.1; python_version<"3.7"',
        'hypothesis>=6.31; python_version>="3.7"',
        'hypothesis>=6.31,<6.32; python_version<"3.7"',
        # the code is linted and type-checked on a workstation only
        'ruff>=0.6; python_version>="3.9"',
        'mypy>=1.8; python_version>="3.9"',
    ],
    # what installs on a machine without CUDA
    "all": OPENCV + EVAL + TORCH + CHART + ONNX + SEARCH + RTX,
}

setup(
    name="darkprune",
    version=version(),
    description="Prunes Darknet .cfg/.weights pairs and proves that the result computes the same",
    author="The darkprune authors",
    license="MIT",
    packages=find_packages(include=["darkprune", "darkprune.*"]),
    python_requires=">=3.6",
    install_requires=[
        'numpy>=1.13.3; python_version>="3.7"',
        # 1.19.5 dies with an illegal instruction on Jetson boards (numpy issue 18131)
        'numpy>=1.13.3,<1.19.5; python_version<"3.7"',
        'tqdm>=4.19; python_version>="3.7"',
        'tqdm>=4.19,<4.65; python_version<"3.7"',
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["darkprune = darkprune.cli.main:main"]},
)
