"""The programs in tools/ as modules."""

import importlib.util
import os
import sys

import need


def load(name):
    """tools/NAME.py as a module; what it puts in front of sys.path goes again."""
    path, before = os.path.join(str(need.ROOT), "tools", name + ".py"), list(sys.path)
    spec = importlib.util.spec_from_file_location(name + "_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module
