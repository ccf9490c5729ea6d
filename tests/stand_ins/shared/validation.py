"""What the builder refuses, and what it warns of, before it makes an engine."""

from tensorrt.graph import UNKNOWN
from tensorrt.types import FLOATS


def problems(network, config, release):
    """Texts, none where an engine can be built."""
    found = _outputs(network) + _names(network)
    for layer in network._layers:
        if network._shape(layer._output) is None:
            found.append("{}: the layer is invalid".format(layer.name))
    if found:
        return found
    found += _profiles(network, config)
    if network._strong:
        return found + _strong(config)
    return found + _flags(network, config) + _ranges(network, config)


def _outputs(network):
    if not network._inputs:
        return ["Network must have at least one input"]
    return [] if network._outputs else ["Network must have at least one output"]


def _names(network):
    """NvInfer.h, ILayer::setName and ITensor::setName: names must be unique."""
    found = []
    layers = [layer.name for layer in network._layers]
    found += ["Repeated layer name: {} (layers must have distinct names)".format(name) for name in repeated(layers)]
    tensors = [t.name for t in network._inputs] + [layer._output.name for layer in network._layers]
    return found + ["Repeated tensor name: {}".format(name) for name in repeated(tensors)]


def repeated(names):
    seen = set()
    return [name for name in names if name in seen or seen.add(name)]


def _profiles(network, config):
    found = []
    for tensor in network._inputs:
        if UNKNOWN not in tensor._fixed:
            continue
        if not config._profiles:
            text = "Network has dynamic or shape inputs, but no optimization profile has been defined."
            return [text]
        for profile in config._profiles:
            shapes = profile._shapes.get(tensor.name)
            if shapes is None:
                found.append("Network has dynamic input {}, but its profile has no shape of it".format(tensor.name))
                continue
            for shape in shapes:
                if len(shape) != len(tensor._fixed) or any(
                    a != b for a, b in zip(shape, tensor._fixed) if b != UNKNOWN
                ):
                    found.append("profile shape {} of {} does not fit {}".format(shape, tensor.name, tensor._fixed))
    return found


def _strong(config):
    """Developer Guide, "Strongly Typed Networks": precision flags have no place there; the builder refuses them."""
    wrong = [name for name in ("FP16", "INT8", "BF16", "FP8") if config._has(name)]
    return ["{} is not compatible with strongly typed networks".format(name) for name in wrong]


def _flags(network, config):
    found = []
    for layer in network._layers:
        asked = {kind.name for kind in (layer._precision, layer._wanted) if kind is not None}
        for kind, flag in (("HALF", "FP16"), ("INT8", "INT8")):
            if kind in asked and not config._has(flag):
                text = "{}: {} precision has been set for a layer or layer output, but {} is not configured in the "
                text += "builder"
                found.append(text.format(layer.name, kind.capitalize(), flag.lower()))
    return found


def _ranges(network, config):
    """Without a calibrator int8 has no scales but the ranges that were set."""
    if not config._has("INT8") or config.int8_calibrator is not None or _quantized(network):
        return []
    if any(tensor._range is not None for tensor in _tensors(network)):
        return []
    text = "Calibration failure occurred with no scaling factors detected. This could be due to no int8 calibrator or "
    return [text + "insufficient custom scales for network layers."]


def _quantized(network):
    return any(layer.KIND in ("quantize", "dequantize") for layer in network._layers)


def _tensors(network):
    return list(network._inputs) + [layer._output for layer in network._layers]


def warnings(network, config, machine):
    """What the builder says of what it builds all the same."""
    found = []
    if network._strong:
        return found
    if config._has("INT8") and not machine.fast_int8:
        text = "Int8 support requested on hardware without native Int8 support, "
        found.append(text + "performance will be negatively affected.")
    if config._has("FP16") and not machine.fast_fp16:
        found.append("Half2 support requested on hardware without native FP16 support, performance will be affected.")
    if config._has("INT8") and not _quantized(network):
        text = "Missing scale and zero-point for tensor {}, expect fall back to non-int8 implementation for any layer "
        text += "consuming or producing given tensor"
        for tensor in _tensors(network):
            if tensor._range is None and tensor.dtype.name in FLOATS:
                found.append(text.format(tensor.name))
    return found
