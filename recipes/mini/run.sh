#!/usr/bin/env bash
# A corpus made by formula, from nothing to a score: shows that everything works here, in 3 minutes on a CPU.
#
#   ./run.sh                 everything
#   ./run.sh --stage 4       evaluate and show the results again
#
# --stage N, --stop-stage N   0 synthesise, 1 data, 2 train, 3 calibrate, 4 evaluate, 5 results
# --corpus DIR   one that local/synthesise.py made before
# --conf FILE    features, model and training
# --seed N       of weights, order and augmentation
# --nj N         jobs at once (there is one fold, so one at most)
# --device D     auto, cpu, cuda or mps
# --devices N    for one training, of each machine
# --nodes M      machines for one training; 2 and more need Slurm (../cmd.sh)
# --exp DIR      experiments go to DIR/<conf>/heldout/fold<k>/seed<s>, with their logs
#
# Paths count from this folder. What is done is skipped, a training that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")"
stage=0 stop_stage=5 corpus='' conf=conf/serial.yaml fold='' seed=1 nj=1 device=auto devices=1 nodes=1 exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage corpus conf seed nj device devices nodes exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # train_cmd, evaluate_cmd: where jobs run

data=data/heldout
root=$exp/$(basename "$conf" .yaml)/heldout

if stage 0 "synthesise"; then
  [ -n "$corpus" ] || local/synthesise.py corpus
fi

if stage 1 "data directories: data/all, $data/fold<k>/{train,valid,test}"; then
  local/prepare.py "${corpus:-corpus}" data/all
  emotion data validate data/all
  emotion data split data/all conf/split.yaml "$data"
fi

if stage 2 "train"; then
  each_fold "$train_cmd" train --conf "$conf" --train @data/train --valid @data/valid --exp @exp \
    --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes"
fi

if stage 3 "calibrate on the validation speakers"; then
  each_fold "$evaluate_cmd" calibrate @exp @data/valid --device "$device"
fi

if stage 4 "evaluate on the test speakers"; then
  each_fold "$evaluate_cmd" evaluate @exp @data/test --device "$device"
fi

if stage 5 "results"; then
  emotion results "$root" -o "$root/RESULTS.md"
  log "table in $root/RESULTS.md, pictures in $root/fold*/seed*/*.png"
fi
