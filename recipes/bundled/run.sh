#!/usr/bin/env bash
# The model that comes with the package: RAVDESS and EMO-DB together, speakers of both left out to test it.
#
#   ./run.sh --ravdess ~/corpora/RAVDESS --emodb ~/corpora/emodb
#
# --stage N, --stop-stage N   0 fetch, 1 data, 2 train, 3 calibrate, 4 evaluate, 5 results, 6 pack
# --ravdess DIR, --emodb DIR   recordings you have; what is not given is fetched
# --conf FILE    features, model and training
# --seed N       of weights, order and augmentation
# --device D     auto, cpu, cuda or mps
# --exp DIR      experiments go to DIR/<conf>/bundled/fold1/seed<s>, with their logs
#
# Stage 6 writes emotion/pretrained/model.safetensors and its card; only that stage touches the package.
set -euo pipefail
cd "$(dirname "$0")"
stage=0 stop_stage=5 ravdess='' emodb='' conf=conf/serial.yaml fold='' seed=1 device=auto exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage ravdess emodb conf seed device exp -- "$@"
. ./path.sh      # the emotion command
. ./cmd.sh       # train_cmd, evaluate_cmd: where jobs run

data=data/bundled
root=$exp/$(basename "$conf" .yaml)/bundled

if stage 0 "fetch"; then
  [ -n "$ravdess" ] || ../ravdess/local/download.sh downloads/ravdess
  [ -n "$emodb" ] || ../emodb/local/download.sh downloads/emodb
fi

if stage 1 "data directories: data/all, $data/fold1/{train,valid,test}"; then
  ../ravdess/local/prepare.py "${ravdess:-downloads/ravdess}" data/ravdess
  ../emodb/local/prepare.py "${emodb:-downloads/emodb}" data/emodb
  emotion data combine data/both data/ravdess data/emodb
  emotion data subset data/both data/all --emotions anger,calm,disgust,fear,happiness,neutral,sadness,surprise
  emotion data validate data/all
  emotion data split data/all conf/split.yaml "$data"
fi

if stage 2 "train"; then
  each_fold "$train_cmd" train --conf "$conf" --train @data/train --valid @data/valid --exp @exp \
    --seed "$seed" --device "$device"
fi

if stage 3 "calibrate on the validation speakers"; then
  each_fold "$evaluate_cmd" calibrate @exp @data/valid --device "$device"
fi

if stage 4 "evaluate on the test speakers"; then
  each_fold "$evaluate_cmd" evaluate @exp @data/test --device "$device"
fi

if stage 5 "results"; then
  emotion results "$root" -o "$root/RESULTS.md"
fi

if stage 6 "pack the model and its card into the package"; then
  local/pack.py "$root/fold1/seed$seed" ../../emotion/pretrained
fi
