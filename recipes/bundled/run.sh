#!/usr/bin/env bash
# The model that comes with the package: RAVDESS, EMO-DB and nEMO together, tested on speakers and corpora it never heard.
#
#   ./run.sh --ravdess DIR --emodb DIR --nemo DIR                    six folds over the speakers
#   ./run.sh --ravdess DIR --emodb DIR --nemo DIR --stop-stage 7     and all that the shipped model takes: one cosine,
#   ./run.sh --stage 2 --stop-stage 8 --conf conf/restarted.yaml --from serial         and a second from where it ended
#   ./run.sh --stage 9 --stop-stage 9 --conf conf/sturdy.yaml        a third, of the packaged model alone
#
# --stage N, --stop-stage N   0 fetch, 1 data, 2 train, 3 calibrate, 4 evaluate, 5 results of the six folds,
#                             6 leave one corpus out, 7 train the model to ship, 8 pack it and its card,
#                             9 go on from the packaged model and put what comes of it into its place
# --ravdess DIR, --emodb DIR, --nemo DIR   recordings you have; of the first two what is not given is fetched
# --conf FILE    features, model and training
# --from CONF    start each training from that of this configuration on the same speakers; empty: from nothing
# --fold K       stages 2 to 4: this fold alone; empty: all
# --seed N       of weights, order and augmentation
# --nj N         jobs at once
# --device D     auto, cpu, cuda or mps
# --devices N    for one training, of each machine
# --nodes M      machines for one training; 2 and more need Slurm (../cmd.sh)
# --exp DIR      experiments go to DIR/<conf>/{six,corpora,shipped,onward}/..., with their logs
#
# Stages 8 and 9 write emotion/pretrained/model.safetensors and its card; only they touch the package.
set -euo pipefail
cd "$(dirname "$0")"
stage=0 stop_stage=5 ravdess='' emodb='' nemo='' conf=conf/serial.yaml from='' fold='' seed=1 nj=1
device=auto devices=1 nodes=1 exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage ravdess emodb nemo conf from fold seed nj device devices nodes exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # train_cmd, evaluate_cmd: where jobs run

name=$(basename "$conf" .yaml)
data=data/six root=$exp/$name/six
valid_speakers=ravdess03,ravdess06,emodb03,emodb08,nemoMP0   # of the shipped model, which has no test speakers

train() {
  each_fold "$train_cmd" train --conf "$conf" --train @data/train --valid @data/valid --exp @exp \
    --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes" ${from:+--init "$exp/$from/$1/@fold/@seed"} "${@:2}"
}
calibrate() { each_fold "$evaluate_cmd" calibrate @exp @data/valid --device "$device"; }
evaluate() { each_fold "$evaluate_cmd" evaluate @exp @data/test --device "$device"; }

if stage 0 "fetch"; then
  [ -n "$ravdess" ] || ../ravdess/local/download.sh downloads/ravdess
  [ -n "$emodb" ] || ../emodb/local/download.sh downloads/emodb
  [ -n "$nemo" ] || ../nemo/local/download.sh downloads/nemo
fi

if stage 1 "data directories: data/all, data/{six,corpora}/fold<k>/{train,valid,test}, data/shipped"; then
  ../ravdess/local/prepare.py "${ravdess:-downloads/ravdess}" data/ravdess
  ../emodb/local/prepare.py "${emodb:-downloads/emodb}" data/emodb
  ../nemo/local/prepare.py "${nemo:-downloads/nemo}" data/nemo
  emotion data combine data/both data/ravdess data/emodb data/nemo
  emotion data subset data/both data/all --emotions anger,calm,disgust,fear,happiness,neutral,sadness,surprise
  emotion data validate data/all
  emotion data split data/all conf/splits/six.yaml data/six
  emotion data split data/all conf/splits/corpora.yaml data/corpora
  emotion data subset data/all data/shipped/valid --speakers "$valid_speakers"
  emotion data subset data/all data/shipped/train --without-speakers "$valid_speakers"
fi

if stage 2 "train"; then train six; fi

if stage 3 "calibrate on the validation speakers"; then calibrate; fi

if stage 4 "evaluate on the test speakers"; then evaluate; fi

if stage 5 "results"; then
  emotion results "$root" -o "$root/RESULTS.md"
fi

if stage 6 "leave one corpus out: train, calibrate, evaluate"; then
  data=data/corpora root=$exp/$name/corpora fold=
  train corpora --set fit.may_lack_classes=true   # disgust is in RAVDESS alone
  calibrate
  evaluate
fi

if stage 7 "train the model to ship"; then
  dir=$exp/$name/shipped/seed$seed
  job $train_cmd "$dir/log/train.log" emotion train --conf "$conf" --train data/shipped/train \
    --valid data/shipped/valid --exp "$dir" --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes" \
    ${from:+--init "$exp/$from/shipped/seed$seed"}
  finish
fi

if stage 8 "pack the model and its card into the package"; then
  local/pack.py "$exp/$name" data/all ../../emotion/pretrained --seed "$seed"
fi

if stage 9 "go on from the packaged model: train, take its place"; then
  dir=$exp/$name/onward/seed$seed
  job $train_cmd "$dir/log/train.log" emotion train --conf "$conf" --train data/shipped/train \
    --valid data/shipped/valid --exp "$dir" --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes" \
    --init bundled
  finish
  local/go_on.py "$dir" data/shipped/valid ../../emotion/pretrained --what "$(sed -n '1s/^# *//p' "$conf")"
fi
