#!/usr/bin/env bash
# The JL corpus, 4 of its 10 emotions, 4 New Zealanders, each tested by a model that never heard them.
#
#   ./run.sh --corpus ~/corpora/jl-corpus      the folder JL(wav+txt), or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso4.yaml emotions=anger,happiness,neutral,sadness variants='' reading=''
source='the JL corpus is on Kaggle, https://www.kaggle.com/tli725/jl-corpus'
. ../recipe.sh   # the stages and their options
