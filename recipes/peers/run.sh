#!/usr/bin/env bash
# What a model has to beat: openSMILE features and a linear SVM, on the folds of another recipe. Needs opensmile.
#
#   ../ravdess/run.sh --stage 1 --stop-stage 1                     its data directories come first
#   ./run.sh --corpus-recipe ravdess --features eGeMAPSv02
#   ./run.sh --corpus-recipe ravdess --features eGeMAPSv02 --speaker-normalised true
#
# --stage N, --stop-stage N   1 features, 2 train and score, 5 results
# --corpus-recipe NAME   ravdess, emodb, nemo or another folder beside this one
# --split NAME       one of its data/<split>; empty: luna5, loso10, loso9
# --features SET     eGeMAPSv02 (88 numbers an utterance) or ComParE_2016 (6,373)
# --speaker-normalised BOOL   true: mean and deviation of each speaker's own recordings, tested ones too
# --fold K           this fold alone, counted from 1 in the split's order; empty: all
# --nj N             folds at once
# --exp DIR          experiments go to DIR/<features>[-speaker]/<split>/fold<k>/seed1; empty: exp/<corpus recipe>
#
# Paths count from this folder. What is done is skipped, an extraction that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")"
stage=1 stop_stage=5 corpus_recipe=ravdess split='' features=eGeMAPSv02 speaker_normalised=false fold='' nj=1 exp=''
. ../common.sh   # log, stage, run, options
options stage stop_stage corpus_recipe split features speaker_normalised fold nj exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # cpu_cmd: where jobs run

case $corpus_recipe,$split in
  ravdess,) split=luna5 ;;
  emodb,) split=loso10 ;;
  nemo,) split=loso9 ;;
  *,) refuse "no split is known for '$corpus_recipe': name one of ../$corpus_recipe/data with --split"; exit 2 ;;
esac
case $features in
  eGeMAPSv02 | ComParE_2016) ;;
  *) refuse "--features takes eGeMAPSv02 or ComParE_2016, not '$features'"; exit 2 ;;
esac
case $speaker_normalised in
  true) line=$features-speaker how=--speaker-normalised ;;
  false) line=$features how='' ;;
  *) refuse "--speaker-normalised takes true or false, not '$speaker_normalised'"; exit 2 ;;
esac
data=../$corpus_recipe/data/$split
[ -d "$data/fold1" ] || {
  refuse "$data holds no fold1: write it with ../$corpus_recipe/run.sh --stage 1 --stop-stage 1, or name another --split"
  exit 1
}
table=data/$corpus_recipe/$features.npz
exp=${exp:-exp/$corpus_recipe}
root=$exp/$line/$split

if stage 1 "features of every utterance: $table"; then
  $cpu_cmd "$exp/log/$features.log" local/extract.py "$features" "$table" "$data"/fold1/{train,valid,test}
fi

if stage 2 "train, choose C and temperature on the validation speakers, score the test speakers"; then
  ks=$(folds "$data" "$fold")
  for k in $ks; do
    job $cpu_cmd "$root/fold$k/seed1/log/train.log" local/svm.py $how "$table" "$data/fold$k" "$root/fold$k/seed1"
  done
  finish
fi

if stage 5 "results over all folds"; then
  emotion results "$root" -o "$root/RESULTS.md"
  log "table in $root/RESULTS.md"
fi
