#!/usr/bin/env bash
# nEMO, 6 emotions, 9 Polish speakers, each tested by a model that never heard them. Needs 1 GB of disk.
#
#   ./run.sh                                   everything, all folds, one after the other
#   ./run.sh --corpus ~/corpora/nemo           with recordings you have: the folder with data.tsv and samples
#   ./run.sh --stage 2 --fold 1 --seed 2 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso9.yaml emotions='' variants='' reading=''
. ../recipe.sh   # the stages and their options
