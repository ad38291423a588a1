#!/usr/bin/env bash
# MELD, 7 emotions, the six friends tested one by one, each by a model that never heard them.
#
#   ./run.sh --corpus ~/corpora/MELD.Raw       the unpacked folder, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/main6.yaml emotions='' variants='' reading=''
source='MELD.Raw.tar.gz is on https://affective-meld.github.io; unpack it and the three archives in it'
. ../recipe.sh   # the stages and their options
