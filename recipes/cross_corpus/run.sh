#!/usr/bin/env bash
# Trained on one corpus, tested on another: a matrix of all of them, and of each tested by a model of all the others.
#
#   ../ravdess/run.sh --corpus DIR --stage 1 --stop-stage 1      their data directories come first, from their recipes
#   ./run.sh --corpora ravdess,emodb,nemo --nj 2
#   ./run.sh --corpora ravdess,mine=/data/mine/all               a data directory of another place, by a name
#
# --stage N, --stop-stage N   1 data, 2 train, 4 evaluate, 5 results (no 3: a temperature changes no answer's rank)
# --corpora A,B...   recipes beside this one, whose data/all is taken, or NAME=DIR; two or more
# --conf FILE    features, model and training; the scheme must hold all emotions of `emotions` below
# --seed N       of weights, order and augmentation; the results are means over all seeds that are there
# --nj N         jobs at once
# --device D     auto, cpu, cuda or mps
# --devices N    for one training, of each machine
# --nodes M      machines for one training; 2 and more need Slurm (../cmd.sh)
# --exp DIR      experiments go to DIR/<conf>/<row>/seed<s>, with their logs
#
# Paths count from this folder. What is done is skipped, a training that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")"
stage=1 stop_stage=5 corpora=ravdess,emodb,nemo conf=conf/serial.yaml seed=1 nj=1 device=auto devices=1 nodes=1 exp=exp
. ../common.sh   # log, stage, run, options
options stage stop_stage corpora conf seed nj device devices nodes exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # train_cmd, evaluate_cmd: where jobs run

emotions=anger,calm,disgust,fear,happiness,neutral,sadness,surprise
names=() homes=()
IFS=, read -r -a given <<<"$corpora"
for corpus in "${given[@]}"; do
  case $corpus in
    *=*) names+=("${corpus%%=*}") homes+=("${corpus#*=}") ;;
    *) names+=("$corpus") homes+=("../$corpus/data/all") ;;
  esac
done
for name in "${names[@]}"; do
  case $name in '' | *[!A-Za-z0-9_]*) refuse "'$name' is no name of a corpus: letters, digits and _"; exit 2 ;; esac
done
[ "${#names[@]}" -gt 1 ] || { refuse "--corpora $corpora is one corpus: nothing is across. Name two or more"; exit 2; }
set=$(IFS=-; echo "${names[*]}")
rows=("${names[@]}")   # each is trained in data/<row>/fold1
if [ "${#names[@]}" -gt 2 ]; then
  for name in "${names[@]}"; do rows+=("$set/without_$name"); done
fi
root=$exp/$(basename "$conf" .yaml)

evaluate_on() {   # ROW COLUMN DATA: with the statistics of the training, and with the tested corpus's own
  local own dir=$root/$1/seed$seed
  for own in '' --own-statistics; do
    job $evaluate_cmd "$dir/log/evaluate-$2$own.log" emotion evaluate "$dir" "$3" --out "$dir/on/$2" \
      --device "$device" $own
  done
}

if stage 1 "data directories: data/<corpus>/all, data/<row>/fold1/{train,valid,test}"; then
  all=()
  for k in "${!names[@]}"; do
    name=${names[$k]} home=${homes[$k]}
    [ -d "$home" ] || {
      refuse "no data directory $home: write it with ../$name/run.sh --stage 1 --stop-stage 1, or name one: $name=DIR"
      exit 1
    }
    emotion data subset "$home" "data/$name/all" --emotions "$emotions"
    ../folds.py "data/$name/all" "data/$name/folds.yaml"
    emotion data split "data/$name/all" "data/$name/folds.yaml" "data/$name" --fold 1
    all+=("data/$name/all")
  done
  emotion data check "${all[@]}"   # a recording of two corpora would be tested by who trained on it
  for row in "${rows[@]:${#names[@]}}"; do
    for part in train valid; do
      parts=()
      for name in "${names[@]}"; do [ "$row" = "$set/without_$name" ] || parts+=("data/$name/fold1/$part"); done
      emotion data combine "data/$row/fold1/$part" "${parts[@]}"
    done
  done
fi

if stage 2 "train: ${rows[*]}"; then
  for row in "${rows[@]}"; do
    dir=$root/$row/seed$seed
    job $train_cmd "$dir/log/train.log" emotion train --conf "$conf" --train "data/$row/fold1/train" \
      --valid "data/$row/fold1/valid" --exp "$dir" --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes"
  done
  finish
fi

if stage 4 "evaluate on each corpus; of its own, on speakers that were left out"; then
  for row in "${rows[@]}"; do
    for column in "${names[@]}"; do
      case $row in
        "$column") evaluate_on "$row" "$column" "data/$column/fold1/test" ;;
        "$set/without_$column") evaluate_on "$row" "$column" "data/$column/all" ;;
        */*) ;;   # has heard this corpus
        *) evaluate_on "$row" "$column" "data/$column/all" ;;
      esac
    done
  done
  finish
fi

if stage 5 "results"; then
  local/matrix.py "$root" data "${names[@]}" -o "$root/$set.md"
  log "tables in $root/$set.md"
fi
