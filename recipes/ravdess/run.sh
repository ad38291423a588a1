#!/usr/bin/env bash
# RAVDESS speech, 8 emotions, 24 actors, each tested by a model that never heard them. Needs 1 GB of disk.
#
#   ./run.sh                                   everything, all folds, one after the other
#   ./run.sh --corpus ~/corpora/RAVDESS        with recordings you have
#   ./run.sh --stage 2 --fold 1 --seed 2 --device cuda
#
# --stage N, --stop-stage N   0 fetch, 1 data, 2 train, 3 calibrate, 4 evaluate, 5 results
# --corpus DIR   the folder with Actor_01 ... Actor_24, or any parent of it; nothing is fetched then
# --conf FILE    features, model and training
# --split FILE   who tests and who validates in each fold
# --fold K       this fold alone, counted from 1 in the split's order; empty: all
# --seed N       of weights, order and augmentation
# --nj N         jobs at once
# --device D     auto, cpu, cuda or mps
# --devices N    for one training, of each machine
# --nodes M      machines for one training; 2 and more need Slurm (cmd.sh)
# --train-args WORDS   more for emotion train, @fold and @seed stand for these. They begin with --, so join by =:
#                --train-args='--teachers exp/serial/luna5/@fold/@seed exp/conv3d/luna5/@fold/@seed'
# --exp DIR      experiments go to DIR/<conf>/<split>/fold<k>/seed<s>, with their logs
#
# Paths count from this folder. What is done is skipped, a training that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")"
stage=0 stop_stage=5 corpus='' conf=conf/serial.yaml split=conf/splits/luna5.yaml fold='' seed=1
nj=1 device=auto devices=1 nodes=1 train_args='' exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage corpus conf split fold seed nj device devices nodes train_args exp -- "$@"
. ./path.sh      # the emotion command
. ./cmd.sh       # train_cmd, evaluate_cmd: where jobs run

data=data/$(basename "$split" .yaml)
root=$exp/$(basename "$conf" .yaml)/$(basename "$split" .yaml)

if stage 0 "fetch"; then
  [ -n "$corpus" ] || local/download.sh downloads
fi

if stage 1 "data directories: data/all, $data/fold<k>/{train,valid,test}"; then
  local/prepare.py "${corpus:-downloads}" data/all
  emotion data validate data/all
  emotion data split data/all "$split" "$data"
fi

if stage 2 "train"; then
  # shellcheck disable=SC2086   # train_args are words
  each_fold "$train_cmd" train --conf "$conf" --train @data/train --valid @data/valid --exp @exp \
    --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes" $train_args
fi

if stage 3 "calibrate on the validation speakers"; then
  each_fold "$evaluate_cmd" calibrate @exp @data/valid --device "$device"
fi

if stage 4 "evaluate on the test speakers"; then
  each_fold "$evaluate_cmd" evaluate @exp @data/test --device "$device"
fi

if stage 5 "results over all folds and seeds"; then
  emotion results "$root" -o "$root/RESULTS.md"
  log "table in $root/RESULTS.md, pictures in $root/fold*/seed*/*.png"
fi
