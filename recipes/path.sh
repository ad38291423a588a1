# shellcheck shell=bash
# Sourced by every run.sh, in the recipe's folder; source it yourself there (. ../path.sh) to run steps by hand.
export LC_ALL=C   # one sort order for every table
. ../common.sh    # log, stage, run, options
find_emotion || return 1
