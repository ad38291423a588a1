#!/usr/bin/env bash
# SAVEE, 7 emotions, 4 Englishmen, each tested by a model that never heard him.
#
#   ./run.sh --corpus ~/corpora/SAVEE          the folder AudioData, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso4.yaml emotions='' variants='' reading=''
source='register at http://kahlan.eps.surrey.ac.uk/savee/ and unpack AudioData.zip'
. ../recipe.sh   # the stages and their options
