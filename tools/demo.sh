#!/usr/bin/env bash
# The main job on a fresh machine: prunes YOLOv3, proves the result with two readers, shows before and after.
# Everything it makes lies in build/.
set -euo pipefail
# shellcheck source=tools/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

venv_with .venv "${PYTHON:-python3}" --editable '.[opencv]'
PATH=$PWD/.venv/bin:$PATH
mkdir -p build

cfg=cfg/yolov3.cfg weights=build/yolov3.weights pruned=build/yolov3-pruned
python tools/make_weights.py "$cfg" "$weights" --seed 7 --dead 0.75
darkprune inspect "$cfg" "$weights"
darkprune prune "$cfg" "$weights" -o "$pruned" --channels 0.6 --blocks 8 --overwrite --json > "$pruned.json"
darkprune verify "$cfg" "$weights" "$pruned.cfg" "$pruned.weights" --plan "$pruned.plan.json" --runners numpy,opencv

python tools/before_after.py "$pruned.json"
cat <<'END'

These YOLOv3 weights are synthetic, until a trained model of our own exists: sizes and
equality are real, and nothing is said about accuracy.
END
