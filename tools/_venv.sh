# shellcheck shell=bash
# Sourced by the programs that need Python packages. Leaves the caller in the repository root.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# venv_with DIR PYTHON WHAT...: DIR is a virtual environment of PYTHON in which pip has installed WHAT.
# Nothing happens where that was done before and neither WHAT nor the package's metadata has changed since.
venv_with() {
    local dir=$1 python=$2 stamp
    shift 2
    stamp=$dir/.ready-$({ printf '%s\n' "$PWD" "$@"; cat setup.py pyproject.toml darkprune/version.py; } | cksum | tr ' ' -)
    if ! "$dir/bin/python" -c '' 2>/dev/null; then
        "$python" -m venv --clear "$dir" || {
            echo "error: no virtual environment from $python (on Debian: apt-get install python3-venv)" >&2
            return 1
        }
    fi
    if [ ! -e "$stamp" ]; then
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$dir/bin/python" -m pip install --quiet "$@" &&
            touch "$stamp"
    fi
}
