# shellcheck shell=bash
# Where jobs run: the only file to change on a cluster. Called as `$train_cmd LOG COMMAND...`, it returns when
# COMMAND has ended, with its end code. How many are in flight at once is --nj.
export train_cmd=run   # stages 1 and 2

# Slurm: srun waits for its job. Then start with, say, --nj 5.
# slurm() { local log=$1; shift; run "$log" srun --quiet --cpus-per-task=1 --mem=8G "$@"; }
# export train_cmd=slurm
