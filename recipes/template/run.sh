#!/usr/bin/env bash
# Recordings of your own: a table, a folder, a Kaldi directory or an audformat database. Up to five folds of speakers.
#
#   ./run.sh --corpus ~/calls/labels.csv                   columns file, speaker, label and, if known, sex, start, end
#   ./run.sh --corpus ~/calls/labels.csv --ratings 1,7 --conf conf/dimensions.yaml      and arousal, valence, dominance
#   ./run.sh --corpus ~/calls.jsonl                        the same keys
#   ./run.sh --corpus ~/calls --pattern '(?P<label>[^/]+)/(?P<speaker>[^/_]+)_[^/]*'       anger/anna_01.wav
#   ./run.sh --corpus ~/kaldi/data/all                     wav.scp, utt2spk, utt2emotion
#   ./run.sh --corpus ~/audformat/mine --label-column emotion
#
# --file-column NAME      as your table calls it; the same for the next three
# --speaker-column NAME
# --label-column NAME
# --sex-column NAME
# --ratings LOW,HIGH   ends of the scale of arousal, valence and dominance in your table
# --pattern REGEX   what paths below a folder look like, without extension: groups label, speaker and, if known, sex
# --labels FILE     your labels and the names that emotion uses
#
set -euo pipefail
cd "$(dirname "$0")"
split=data/folds.yaml emotions='' variants=''   # folds are made of the speakers that are there
reading='file_column speaker_column label_column sex_column ratings pattern labels'
file_column=file speaker_column=speaker label_column=label sex_column=sex ratings=0,1
labels=conf/labels.yaml
pattern='(?P<label>[^/]+)/(?P<speaker>[^/]+)/[^/]+'
source='this recipe is for recordings of your own'
. ../recipe.sh   # the stages and their options
