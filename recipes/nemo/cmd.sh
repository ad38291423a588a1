# shellcheck shell=bash
# Where jobs run: the only file to change on a cluster. Called as `$train_cmd LOG COMMAND...`, it returns when
# COMMAND has ended, with its end code. How many are in flight at once is --nj.
export train_cmd=run      # stage 2
export evaluate_cmd=run   # stages 3 and 4

# Slurm: srun waits for its job. Then start with, say, --nj 5 --device cuda.
# slurm() { local log=$1; shift; run "$log" srun --quiet --gres=gpu:1 --cpus-per-task=4 --mem=16G "$@"; }
# export train_cmd=slurm evaluate_cmd=slurm
