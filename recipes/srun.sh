#!/usr/bin/env bash
# What a job of Slurm runs (see slurm in common.sh): the command in each task of the job, on the cores of the task.
set -euo pipefail
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
exec srun --kill-on-bad-exit=1 "$@"
