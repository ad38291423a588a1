#!/usr/bin/env bash
# EMOVO, 7 emotions, 6 Italian actors, each tested by a model that never heard them.
#
#   ./run.sh --corpus ~/corpora/EMOVO          the folder with f1 ... m3, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso6.yaml emotions='' variants='' reading=''
source='EMOVO is on the page of its owners, http://voice.fub.it/activities/corpora/emovo/index.html'
. ../recipe.sh   # the stages and their options
