# shellcheck shell=bash
# Where jobs run: the only file to change on a cluster. Called as `$train_cmd LOG COMMAND...`, it returns when
# COMMAND has ended, with its end code. How many are in flight at once is --nj.
export train_cmd=run      # stage 2
export evaluate_cmd=run   # stages 3 and 4

# Slurm: each training and each test is a job; the words are sbatch's. Then start with, say, --nj 5 --device cuda.
# each="--cpus-per-task=4 --mem-per-cpu=4G"   # process
# export train_cmd="slurm --nodes=$nodes --ntasks-per-node=$devices --gres=gpu:$devices $each"
# export evaluate_cmd="slurm --gres=gpu:1 $each"
