#!/usr/bin/env bash
# EMO-DB, 7 emotions, 10 speakers, each tested by a model that never heard them. Needs 0.1 GB of disk.
#
#   ./run.sh                                   everything, all folds, one after the other
#   ./run.sh --corpus ~/corpora/emodb          with recordings you have: the folder wav, or any parent of it
#   ./run.sh --conf conf/serial4.yaml --emotions anger,happiness,neutral,sadness
#   ./run.sh --stage 2 --fold 1 --seed 2 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso10.yaml emotions='' variants='' reading=''
. ../recipe.sh   # the stages and their options
