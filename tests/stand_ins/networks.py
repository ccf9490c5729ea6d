"""Small networks by hand for the tests of the stand-ins, built and run."""

import importlib

import numpy as np


class Made(object):
    """A network of a stand-in, its builder and what it said."""

    def __init__(self, trt, strong=None):
        said = self.said = []

        class Log(trt.ILogger):
            def __init__(self):
                trt.ILogger.__init__(self)

            def log(self, severity, msg):
                said.append((severity.name, msg))

        self.trt, self.logger = trt, Log()
        self.builder = trt.Builder(self.logger)
        flags = trt.NetworkDefinitionCreationFlag
        strong = hasattr(flags, "STRONGLY_TYPED") if strong is None else strong
        bits = 1 << int(flags.STRONGLY_TYPED if strong else flags.EXPLICIT_BATCH)
        if not hasattr(trt.BuilderFlag, "FP16"):  # TensorRT-RTX knows no other networks
            bits = 0
        self.network = self.builder.create_network(bits)
        self.config = self.builder.create_builder_config()
        self.keep = []

    def errors(self):
        return [text for severity, text in self.said if severity == "ERROR"]

    def weights(self, values, kind=np.float32):
        self.keep.append(np.ascontiguousarray(values, kind))
        return self.trt.Weights(self.keep[-1])

    def input(self, *shape, **options):
        return self.network.add_input(options.get("name", "data"), options.get("dtype", self.trt.float32), shape)

    def constant(self, values, kind=np.float32):
        values = np.asarray(values, kind)
        return self.network.add_constant(values.shape, self.weights(values, kind)).get_output(0)

    def conv(self, x, kernel, bias=None, kind=np.float32):
        kernel = np.asarray(kernel)
        bias = None if bias is None else self.weights(bias, kind)
        shape = kernel.shape[2:]
        return self.network.add_convolution_nd(x, len(kernel), shape, self.weights(kernel, kind), bias)

    def rounded(self, x, scale, axis=None, kind=np.float32):
        """Quantize and dequantize."""
        step = self.constant(scale, kind)
        q = self.network.add_quantize(x, step)
        dq = self.network.add_dequantize(q.get_output(0), step)
        if axis is not None:
            q.axis = dq.axis = axis
        return dq.get_output(0)

    def build(self, *tensors):
        for number, tensor in enumerate(tensors):
            tensor.name = "out{}".format(number)
            self.network.mark_output(tensor)
        return self.builder.build_serialized_network(self.network, self.config)

    def program(self, *tensors, **options):
        data = self.build(*tensors)
        assert data is not None, self.said
        plan = importlib.import_module("tensorrt.plan").read(data)
        return importlib.import_module("tensorrt.execute").Program(plan, **options)

    def run(self, x, *tensors, **options):
        """The outputs for the one input, in order."""
        program = self.program(*tensors, **options)
        found = program.run({program.plan["inputs"][0]: np.asarray(x, np.float32)})
        return [found[number] for number in program.plan["outputs"]]
