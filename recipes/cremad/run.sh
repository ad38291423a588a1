#!/usr/bin/env bash
# CREMA-D, 6 emotions, 91 actors in five folds that share none.
#
#   ./run.sh --corpus ~/corpora/CREMA-D        the clone, or its folder AudioWAV
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/actors5.yaml emotions='' variants='' reading=''
source='git lfs install && git clone https://github.com/CheyneyComputerScience/CREMA-D downloads/CREMA-D (8 GB)'
. ../recipe.sh   # the stages and their options
