#!/usr/bin/env bash
# Fetches RAVDESS speech (208 MB) into DIR from its owners' Zenodo record and unpacks it.
#
#   local/download.sh DIR
#
# The MD5 is the one that https://zenodo.org/records/1188976 lists beside the file (208,468,073 bytes).
# Licence of the recordings: CC BY-NC-SA 4.0. Cite Livingstone & Russo, PLOS ONE 13(5), 2018, e0196391.
set -euo pipefail
. "$(dirname "$0")/../../common.sh"

fetch https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip \
  bc696df654c87fed845eb13823edef8a "${1:?give the folder to fetch into: local/download.sh DIR}"
