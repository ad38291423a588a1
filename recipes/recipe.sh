# shellcheck shell=bash
# --stage N, --stop-stage N   0 fetch, 1 data, 2 train, 3 calibrate, 4 evaluate, 5 results; if asked for, 6 stress
# --corpus DIR   recordings you have: the corpus's folder or any parent of it; nothing is fetched then
# --conf FILE    features, model and training
# --emotions A,B...   these alone, in every stage; empty: all that are there
# --split FILE   who tests and who validates in each fold
# --fold K       this fold alone, counted from 1 in the split's order; empty: all
# --seed N       of weights, order and augmentation
# --nj N         jobs at once
# --device D     auto, cpu, cuda or mps
# --devices N    for one training, of each machine
# --nodes M      machines for one training; 2 and more need Slurm (../cmd.sh)
# --train-args WORDS   more for emotion train, @fold and @seed stand for these. They begin with --, so join by =:
#                --train-args='--teachers exp/serial/SPLIT/@fold/@seed exp/conv3d/SPLIT/@fold/@seed'
# --exp DIR      experiments go to DIR/<conf>/<split>/fold<k>/seed<s>, with their logs
#
# Paths count from the recipe's folder. What is done is skipped, a training that was stopped goes on.

# The stages of every recipe of one corpus. Its run.sh sources this after it has set
#
#   split      who tests when. data/folds.yaml is made in stage 1 from the speakers that are there; data/official.yaml
#              is made there too, from the corpus's own table (data/spk2part, which local/prepare.py writes)
#   emotions   those its protocol takes; empty: all
#   variants, reading   names of further options, all for local/prepare.py, whose defaults run.sh has set: those that
#              choose other data, and those that say how to read it
#   source     where recordings are to be had, in words, if there is no local/download.sh
#
# Other values of --emotions and of variants are part of the name of the data's folder, those of variants also of the
# experiments' folder.

stage=0 stop_stage=5 corpus='' conf=conf/serial.yaml fold='' seed=1 nj=1 device=auto devices=1 nodes=1 train_args=''
exp=exp
protocol=(); for name in emotions $variants; do protocol+=("${!name}"); done
. ../common.sh   # log, stage, run, options
more_help=${BASH_SOURCE[0]}
options stage stop_stage corpus conf emotions $variants $reading split fold seed nj device devices nodes train_args \
  exp -- "$@"
. ../path.sh     # the emotion command
. ../cmd.sh      # train_cmd, evaluate_cmd: where jobs run

chosen='' variant='' prepare_options=()
for name in emotions $variants; do
  value=${!name} word=''
  [ "$value" = "${protocol[0]}" ] || word=-${value:-all}
  protocol=("${protocol[@]:1}")
  chosen=$chosen${word//[!A-Za-z0-9-]/-}
  [ "$name" = emotions ] || variant=$variant${word//[!A-Za-z0-9-]/-}
done
for name in $variants $reading; do prepare_options+=("--${name//_/-}=${!name}"); done
data=data/$(basename "$split" .yaml)$chosen
root=$exp/$(basename "$conf" .yaml)/$(basename "$split" .yaml)$variant

if stage 0 "fetch"; then
  if [ -n "$corpus" ]; then :
  elif [ -f local/download.sh ]; then local/download.sh downloads
  elif [ ! -d downloads ]; then
    refuse "nothing is fetched: $source. Give the folder with --corpus DIR"
    exit 1
  fi
fi

if stage 1 "data directories: data/all, $data/fold<k>/{train,valid,test}"; then
  local/prepare.py ${prepare_options[@]+"${prepare_options[@]}"} "${corpus:-downloads}" data/all
  emotion data validate data/all
  all=data/all
  if [ -n "$emotions" ]; then
    all=$data/all
    emotion data subset data/all "$all" --emotions "$emotions"
  fi
  case $split in
    data/folds.yaml) ../folds.py "$all" "$split" ;;
    data/official.yaml) ../folds.py "$all" "$split" --parts data/spk2part ;;
  esac
  emotion data split "$all" "$split" "$data"
  if [ "$(wc -l <data/all/utt2spk)" -gt 20000 ]; then
    log "many recordings: 'emotion data check $all' takes 4 s for a thousand, and looks for one under two speakers"
  elif ! emotion data check "$all"; then
    log "warning: see above. Where two speakers share a recording, a fold may test what it was trained on: say so beside" \
      "the score"
  fi
fi

if stage 2 "train"; then
  # shellcheck disable=SC2086   # train_args are words
  each_fold "$train_cmd" train --conf "$conf" --train @data/train --valid @data/valid --exp @exp \
    --seed "$seed" --device "$device" --devices "$devices" --nodes "$nodes" $train_args
fi

if stage 3 "calibrate on the validation speakers"; then
  each_fold "$evaluate_cmd" calibrate @exp @data/valid --device "$device"
fi

if stage 4 "evaluate on the test speakers"; then
  each_fold "$evaluate_cmd" evaluate @exp @data/test --device "$device"
fi

if stage 5 "results over all folds and seeds"; then
  emotion results "$root" -o "$root/RESULTS.md"
  log "table in $root/RESULTS.md, pictures in $root/fold*/seed*/*.png"
fi

if stage 6 "stress: noise, lines, rooms, other voices, and for whom it works"; then
  emotion stress "$root" "$data" --seed "$seed" --device "$device" -o "$root/stress.html"
fi
