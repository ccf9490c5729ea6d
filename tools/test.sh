#!/usr/bin/env bash
# Runs the tests on a fresh machine: makes .venv where there is none. Arguments go to pytest.
set -euo pipefail
# shellcheck source=tools/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

venv_with .venv "${PYTHON:-python3}" --editable '.[opencv,dev]'
exec .venv/bin/python -m pytest -q "$@"
