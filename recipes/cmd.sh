# shellcheck shell=bash
# Where jobs run, for all recipes: the only file to change on a cluster. Called as `$train_cmd LOG COMMAND...`, it
# returns when COMMAND has ended, with its end code. How many are in flight at once is --nj.
export train_cmd=run      # trainings
export evaluate_cmd=run   # calibration and tests
export cpu_cmd=run        # what no GPU helps: openSMILE and the SVM of peers

# Slurm: each training and each test is a job; the words are sbatch's. Then start with, say, --nj 5 --device cuda.
# each="--cpus-per-task=4 --mem-per-cpu=4G"   # process
# export train_cmd="slurm --nodes=${nodes:-1} --ntasks-per-node=${devices:-1} --gres=gpu:${devices:-1} $each"
# export evaluate_cmd="slurm --gres=gpu:1 $each"
# export cpu_cmd="slurm --cpus-per-task=1 --mem=8G"
