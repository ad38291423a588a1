#!/usr/bin/env bash
# CASIA, 6 emotions, 4 Mandarin speakers, each tested by a model that never heard them.
#
#   ./run.sh --corpus ~/corpora/CASIA          the folder with the four speakers, or any parent of it
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/loso4.yaml emotions='' variants='' reading=''
source='CASIA is sold by the Chinese Linguistic Data Consortium, http://www.chineseldc.org'
. ../recipe.sh   # the stages and their options
