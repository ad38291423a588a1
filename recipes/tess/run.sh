#!/usr/bin/env bash
# TESS, 7 emotions, two speakers: too few to train, validate and test on, so it tests a model of other corpora.
#
#   ./run.sh --corpus ~/corpora/TESS           the folder with OAF_angry ... YAF_sad, or any parent of it
#   ./run.sh --corpus DIR --model ../cremad/exp/serial/actors5/fold1/seed1
#
# --stage N, --stop-stage N   0 fetch, 1 data, 4 evaluate, 5 results
# --corpus DIR   recordings you have
# --model M      bundled, or the folder or file of another whose classes hold all seven; it must not have heard them
# --device D     auto, cpu, cuda or mps
# --exp DIR      scores go to DIR/<name of the model>, with their log
#
# Paths count from this folder.
set -euo pipefail
cd "$(dirname "$0")"
stage=0 stop_stage=5 corpus='' model=bundled device=auto exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage corpus model device exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # evaluate_cmd: where jobs run

name=${model//[!A-Za-z0-9]/-}
root=$exp/${name#---}/both

if stage 0 "fetch"; then
  if [ -z "$corpus" ] && [ ! -d downloads ]; then
    refuse "nothing is fetched: TESS is at https://tspace.library.utoronto.ca/handle/1807/24487." \
      "Give the folder with --corpus DIR"
    exit 1
  fi
fi

if stage 1 "data directory: data/all"; then
  local/prepare.py "${corpus:-downloads}" data/all
  emotion data validate data/all
fi

if stage 4 "evaluate on both speakers"; then
  $evaluate_cmd "$root/log/evaluate.log" emotion evaluate "$model" data/all --device "$device" --out "$root/fold1/seed1"
fi

if stage 5 "results"; then
  emotion results "$root" -o "$root/RESULTS.md"
  log "table in $root/RESULTS.md, pictures in $root/fold1/seed1/*.png"
fi
