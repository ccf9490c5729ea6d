"""The type stubs of TensorRT, mended for mypy."""

import ast
import sys

import pytest

import need
import tool

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")

STUB = """class A:
    padding_nd: Dims
    shift: Weights
    stride: int
    def f(self, in: list[int], out: list[int]) -> Dims:
    def g(self, input: T, shift: Weights = None, channel_axis: int) -> L:
"""
MENDED = """class A:
    padding_nd: typing.Any
    shift: typing.Any
    stride: int
    def f(self, in_: list[int], out: list[int]) -> Dims:
    def g(self, input: T, shift: typing.Union[Weights, numpy.ndarray] = None, channel_axis: int = ...) -> L:
"""


def test_signatures_are_mended():
    assert tool.load("tensorrt_types").mended(STUB) == MENDED


def test_the_mended_stubs_are_python(tmp_path):
    stubs = need.tensorrt_stubs()
    with pytest.raises(SyntaxError):
        ast.parse((stubs / "tensorrt_bindings" / "tensorrt.pyi").read_text("utf-8"))
    written = tool.load("tensorrt_types").write(str(tmp_path / "types"))
    assert len(written) == 3
    for path in written:
        with open(path, encoding="utf-8") as stream:
            ast.parse(stream.read())
