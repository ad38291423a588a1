#!/usr/bin/env bash
# ESD, 5 emotions, 10 Mandarin and 10 English speakers, four of them tested at a time.
#
#   ./run.sh --corpus ~/corpora/ESD            the folder with 0001 ... 0020, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/five.yaml emotions='' variants='' reading=''
source='sign the licence at https://github.com/HLTSingapore/Emotional-Speech-Data, which has the address'
. ../recipe.sh   # the stages and their options
