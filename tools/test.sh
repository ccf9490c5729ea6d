#!/usr/bin/env bash
# Runs the tests on a fresh machine: makes .venv where there is none. Arguments go to pytest.
set -euo pipefail
# shellcheck source=tools/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

# an exact TensorRT-RTX, since tests look into its plans, whose format is NVIDIA's own
rtx=(tensorrt_rtx_cu12_{libs,bindings}'==1.7.1.116; platform_machine=="x86_64" and python_version>="3.8"')
# an exact torch, so that a build for the CPU alone, which is smaller, is taken where one is at hand
venv_with .venv "${PYTHON:-python3}" --editable '.[train,eval,onnx,rtx,search,dev]' 'torch==2.13.0; python_version>="3.10"' \
    'tensorboard; python_version>="3.10"' "${rtx[@]}"
# types alone; what it asks for beside them is TensorRT itself
venv_with .venv "${PYTHON:-python3}" --no-deps 'tensorrt-stubs==10.13.0.35.1; python_version>="3.10"'
exec .venv/bin/python -m pytest -q "$@"
