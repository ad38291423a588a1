#!/usr/bin/env bash
# MSP-Podcast, 7 emotions, the published parts Train, Development and Test1 or Test2.
#
#   ./run.sh --corpus ~/corpora/MSP-Podcast    the folder with Audios and Labels, or any parent of it
#   ./run.sh --corpus DIR --test Test2
#   ./run.sh --corpus DIR --stage 2 --device cuda --devices 4
#
# --test PART      Test1 or Test2; they share speakers, so one at a time
# --unknown WORD   leave, or train: what to do with recordings of Train whose speaker is not known
#
set -euo pipefail
cd "$(dirname "$0")"
split=data/official.yaml emotions=anger,disgust,fear,happiness,neutral,sadness,surprise   # parts: local/prepare.py
variants='test unknown' reading='' test=Test1 unknown=leave
source='ask for MSP-Podcast at https://lab-msp.com (academic licence)'
. ../recipe.sh   # the stages and their options
