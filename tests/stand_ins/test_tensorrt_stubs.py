"""The stand-in of TensorRT 10 against the type stubs of 10.13: names, arguments, enumerations."""

import ast
import enum
import inspect
import re
from importlib import import_module

import pytest

import need
import tool
from stand_ins.loading import stand_in

CLASSES = """ITensor ILayer IOptimizationProfile IBuilderConfig Builder INetworkDefinition Runtime ICudaEngine
IExecutionContext EngineInspector IActivationLayer IConvolutionLayer IPoolingLayer IConstantLayer IScaleLayer ICastLayer
IPaddingLayer IConcatenationLayer ISliceLayer IShuffleLayer IResizeLayer IGatherLayer IShapeLayer IUnaryLayer
IElementWiseLayer IReduceLayer ISoftMaxLayer ILRNLayer IMatrixMultiplyLayer ISelectLayer IIdentityLayer IQuantizeLayer
IDequantizeLayer""".split()
OLDER = {"IExecutionContext": {"device_memory"}}  # of 10.3 and no more in 10.13


@pytest.fixture(scope="module")
def text():
    """The stubs, as Python can read them."""
    path = need.tensorrt_stubs() / "tensorrt_bindings" / "tensorrt.pyi"
    return tool.load("tensorrt_types").mended(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stubs(text):
    """{class: its node}."""
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


@pytest.fixture(scope="module")
def trt():
    with stand_in("tensorrt10") as module:
        yield module


def described(stubs, name):
    """{public name: [argument names of each overload], or None for a property} of a class and its bases."""
    found = {}
    for base in stubs[name].bases:
        found.update(described(stubs, base.id) if isinstance(base, ast.Name) and base.id in stubs else {})
    for node in stubs[name].body:
        if isinstance(node, ast.AnnAssign):
            found[node.target.id] = None
        elif isinstance(node, ast.FunctionDef):
            words = [arg.arg for arg in node.args.args][1:]
            plain = any("property" in ast.dump(d) or "setter" in ast.dump(d) for d in node.decorator_list)
            found[node.name] = None if plain else (found.get(node.name) or []) + [words]
    return found


def classes(trt):
    """{name: class} of the stand-in, also of layers that only methods hand out."""
    found = {}
    for module in ("layers_maps", "layers_values", "layers_weights", "graph"):
        found.update(vars(import_module("tensorrt." + module)))
    found.update(vars(trt))
    return {name: found[name] for name in CLASSES}


@pytest.mark.parametrize("name", CLASSES)
def test_methods_and_properties(name, trt, stubs):
    one, expected = classes(trt)[name], described(stubs, name)
    public = [word for word in dir(one) if word[0].islower()]
    assert public
    for word in public:
        assert word in expected or word in OLDER.get(name, ()), word
        value = inspect.getattr_static(one, word)
        callable_here = callable(value) and not isinstance(value, property)
        assert callable_here == (expected[word] is not None), word
        if callable_here:
            words = [p for p in inspect.signature(getattr(one, word)).parameters][1:]
            assert words in expected[word], (word, words, expected[word])


def test_enumerations(trt, stubs, text):
    """Members, and their numbers."""
    lines, compared = text.splitlines(), 0
    for name, one in vars(trt).items():
        if not (inspect.isclass(one) and issubclass(one, enum.Enum)):
            continue
        known = {}
        for node in stubs[name].body:
            found = re.search(r"= <\w+\.\w+: (\d+)>", lines[node.lineno - 1])
            if found and isinstance(node, ast.AnnAssign):
                known[node.target.id] = int(found.group(1))
        for member in one:
            assert known[member.name] == member.value, member
        compared += 1
    assert compared > 15


def test_names_at_the_top(trt, stubs, text):
    known = set(stubs) | {node.target.id for node in ast.parse(text).body if isinstance(node, ast.AnnAssign)}
    unknown = [name for name in import_module("tensorrt.release10").__all__ if name not in known]
    assert unknown == ["nptype"]  # of the package's __init__.py
