"""Makes a failing case small: layers, options and sizes go as long as it still fails in the same way."""

from darkprune.darknet import values
from darkprune.darknet.cfg import parse
from random_checks import Case

REFERENCES = ("from", "layers", "share_index")
SIMPLE = {
    "activation": ["linear", "leaky"],
    "filters": ["1", "2", "4", "8"],
    "output": ["1", "2", "4"],
    "size": ["1", "2", "3"],
    "stride": ["1", "2"],
    "pad": ["0"],
    "batch_normalize": ["1"],
    "width": ["2", "4", "8"],
    "height": ["2", "4", "8"],
    "channels": ["1", "2"],
    "groups": ["2"],
}
PLAIN = {"blocks": [0, 1], "channels": [0.5], "absorb": ["none", "exact"]}
SEEDS = (None, 1, 2)


def shrink(case, fails, tries=800):
    """A smaller case for which `fails(case)` still holds; `tries` bounds how often it is asked."""
    budget = [tries]

    def better(layers, options):
        for seed in SEEDS:
            budget[0] -= 1
            weights = dict(case.weights, header=[0, 2, 5, 0, True])
            weights["seed"] = case.weights["seed"] if seed is None else seed
            found = Case(text_of(layers), weights, options, case.dialect)
            if budget[0] > 0 and fails(found):
                return found
        return None

    layers, options, best = layers_of(case.data), dict(case.options), None
    if not better(layers, options):
        return case
    before = None
    while before != (layers, options) and budget[0] > 0:
        before = ([list(la) for la in layers], dict(options))
        for candidate, other in smaller(layers, options):
            found = better(candidate, other)
            if found:
                layers, options, best, case = candidate, other, found, found
                break
    return best or case


def layers_of(data):
    """(type, {option: text}) by section, [net] first; references are absolute, in lists."""
    layers = []
    for index, section in enumerate(parse(data).sections):
        options = {}
        for option in section.options:
            options.setdefault(option.key, option.value)
        for key in REFERENCES:
            if key in options:
                numbers = values.int_list(options[key])
                options[key] = [n if n >= 0 else index - 1 + n for n in numbers]
        layers.append((section.type, options))
    return layers


def text_of(layers):
    parts = []
    for kind, options in layers:
        lines = ["[{}]".format(kind)]
        for key, value in options.items():
            lines.append("{}={}".format(key, ",".join(map(str, value)) if isinstance(value, list) else value))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts).encode("ascii")


def smaller(layers, options):
    """Candidates, the boldest first."""
    for count in range(2, len(layers)):
        yield layers[:count], options
    for index in range(len(layers) - 1, 0, -1):
        yield without(layers, index), options
    for key in sorted(options):
        if key not in PLAIN:
            yield layers, {k: v for k, v in options.items() if k != key}
        for value in PLAIN.get(key, []):
            if options[key] == value:
                break
            yield layers, dict(options, **{key: value})
    for index, (_, settings) in enumerate(layers):
        for key in list(settings):
            if key not in REFERENCES and (index or key not in ("width", "height", "channels")):
                yield changed(layers, index, key, None), options
            for value in SIMPLE.get(key, []):
                if settings[key] == value:
                    break
                yield changed(layers, index, key, value), options


def without(layers, index):
    """The layers without one; who referred to it refers to the one before it."""
    gone = index - 1
    result = []
    for number, (kind, options) in enumerate(layers):
        if number != index:
            moved = dict(options)
            for key in REFERENCES:
                if key in moved:
                    moved[key] = [max(0, n - (n >= gone)) if n != gone else max(0, gone - 1) for n in moved[key]]
            result.append((kind, moved))
    return result


def changed(layers, index, key, value):
    kind, options = layers[index]
    options = dict(options)
    if value is None:
        del options[key]
    else:
        options[key] = value
    return layers[:index] + [(kind, options)] + layers[index + 1 :]
