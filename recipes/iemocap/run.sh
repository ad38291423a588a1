#!/usr/bin/env bash
# IEMOCAP, 4 classes, 10 actors, leave one session out.
#
#   ./run.sh --corpus ~/corpora/IEMOCAP_full_release     the folder with Session1 ... Session5, or any parent of it
#   ./run.sh --corpus DIR --kind improvised              without the scripted dialogues
#   ./run.sh --corpus DIR --stage 2 --fold 1 --device cuda
#
# --kind WORD    all, improvised or scripted: which dialogues
#
set -euo pipefail
cd "$(dirname "$0")"
split=conf/splits/sessions5.yaml emotions=anger,happiness,neutral,sadness variants=kind reading='' kind=all
source='ask for IEMOCAP at https://sail.usc.edu/iemocap/iemocap_release.htm'
. ../recipe.sh   # the stages and their options
