#!/usr/bin/env bash
# Looks for nEMO in DIR, and says where to get it. It fetches nothing: no archive with a published checksum is known.
#
#   local/download.sh DIR
#
# The owners keep the recordings in a git repository (samples/*.wav at 24 kHz beside data.tsv, 0.5 GB), which checks
# itself as it is cloned. Their copy on Hugging Face (amu-cai/nEMO) is Parquet, which prepare.py does not read.
# Licence of the recordings: CC BY-NC-SA 4.0. Cite Christop 2024, arXiv 2404.06292.
set -euo pipefail
. "$(dirname "$0")/../../common.sh"

dir=${1:?give the folder to look in: local/download.sh DIR}
if [ -n "$(find "$dir/" -name data.tsv -print 2>/dev/null)" ]; then
  log "$dir holds data.tsv"
else
  refuse "$dir holds no data.tsv, and nEMO has no archive with a published checksum to fetch." \
    "Clone it: git clone --depth 1 https://github.com/amu-cai/nEMO $dir/nEMO, and run again;" \
    "or give a copy you have with --corpus DIR"
  exit 1
fi
