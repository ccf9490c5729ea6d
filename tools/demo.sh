#!/usr/bin/env bash
# The main job on a fresh machine: draws scenes, prunes a detector that was trained on such, proves that the pruned
# pair computes what it should, trains it a little further, and shows before and after. All it makes lies in build/demo/.
set -euo pipefail
# shellcheck source=tools/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

# an exact torch, so that a build for the CPU alone, which is smaller, is taken where one is at hand
venv_with .venv "${PYTHON:-python3}" --editable '.[opencv,train]' 'torch==2.13.0; python_version>="3.10"'
PATH=$PWD/.venv/bin:$PATH
step() { printf '\n== %s\n' "$*"; }

out=build/demo cfg=cfg/scenes.cfg weights=weights/scenes.weights
data=$out/scenes/scenes.data
mkdir -p "$out"

step "scenes: drawn"
python tools/draw_scenes.py "$out/scenes" --train 800 --valid 0 --test 200 --overwrite

step "before: mAP in OpenCV"
darkprune eval "$cfg" "$weights" --data "$data" --split test --runner opencv --no-coco --json >"$out/scenes.json"

# sparsity training left 55 % of the gammas at exactly zero: half of the filters go without any effect
step "pruned, and compared with the original whose removed filters are zeros"
darkprune prune "$cfg" "$weights" -o "$out/pruned" --channels 0.5 --overwrite
darkprune verify "$cfg" "$weights" "$out/pruned.cfg" "$out/pruned.weights" --plan "$out/pruned.plan.json" \
    --runners numpy,opencv
darkprune eval "$out/pruned.cfg" "$out/pruned.weights" --data "$data" --split test --runner opencv --no-coco --json \
    >"$out/pruned.json"

step "trained further, with the original as its teacher"
darkprune train "$out/pruned.cfg" "$out/pruned.weights" --data "$data" -o "$out/tuned" --overwrite \
    --teacher "$cfg" "$weights" --epochs 2 --learning-rate 0.0002 --burn-in 0 --ema-alpha 0.95 --box-gradient loss
tuned=$out/tuned/pruned_final.weights
darkprune eval "$out/pruned.cfg" "$tuned" --data "$data" --split test --runner opencv --no-coco --json \
    >"$out/tuned.json"

step "before and after, in OpenCV"
pairs=("$cfg" "$weights" "$out/pruned.cfg" "$out/pruned.weights" "$out/pruned.cfg" "$tuned")
darkprune bench "${pairs[@]}" --runners opencv --repeats 3 --json >"$out/bench.json"
python tools/before_after.py "$out"/{bench,scenes,pruned,tuned}.json \
    --draw "$out/before-after.png" --data "$data" --pairs "$cfg" "$weights" "$out/pruned.cfg" "$tuned"
