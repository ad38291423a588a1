#!/usr/bin/env bash
# RAVDESS speech, 8 emotions, 24 actors, each tested by a model that never heard them. Needs 1 GB of disk.
#
#   ./run.sh                                   everything, all folds, one after the other
#   ./run.sh --corpus ~/corpora/RAVDESS        with recordings you have: the folder with Actor_01 ... Actor_24
#   ./run.sh --stage 2 --fold 1 --seed 2 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/luna5.yaml emotions='' variants='' reading=''
. ../recipe.sh   # the stages and their options
