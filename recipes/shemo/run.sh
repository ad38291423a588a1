#!/usr/bin/env bash
# ShEMO, 6 emotions, 87 Persian speakers in five folds that share none.
#
#   ./run.sh --corpus ~/corpora/ShEMO          the folder with female and male, or any parent of it
#   ./run.sh --corpus DIR --emotions anger,happiness,neutral,sadness,surprise --conf conf/five.yaml
#
set -euo pipefail
cd "$(dirname "$0")"
split=data/folds.yaml emotions='' variants='' reading=''   # folds are made of the speakers that are there
source='unpack female.zip and male.zip of https://github.com/mansourehk/ShEMO into one folder'
. ../recipe.sh   # the stages and their options
