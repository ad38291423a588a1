#!/usr/bin/env bash
# URDU, 4 emotions, 29 speakers of talk shows, most with a single emotion: read README.md before any score.
#
#   ./run.sh --corpus ~/corpora/urdu-dataset   the folder with Angry ... Sad, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/three.yaml emotions='' variants='' reading=''
source='git clone --depth 1 https://github.com/siddiquelatif/urdu-dataset downloads/urdu-dataset'
. ../recipe.sh   # the stages and their options
