# shellcheck shell=bash
# Where jobs run: the only file to change on a cluster. Called as `$train_cmd LOG COMMAND...`, it returns when
# COMMAND has ended, with its end code. How many are in flight at once is --nj.
export train_cmd=run   # stages 1 and 2

# Slurm: each is a job; the words are sbatch's. Then start with, say, --nj 5.
# export train_cmd="slurm --cpus-per-task=1 --mem=8G"
