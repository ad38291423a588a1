# shellcheck shell=bash
# Sourced by run.sh; source it yourself, in this folder, to run steps by hand.
export LC_ALL=C   # one sort order for every table
. ../common.sh    # log, stage, run, options
find_emotion || return 1
