#!/usr/bin/env bash
# Fetches EMO-DB 1.3.0 (40 MB) into DIR from its owners' Zenodo record and unpacks it.
#
#   local/download.sh DIR
#
# The MD5 is the one that https://zenodo.org/records/7447302 lists beside the file (39,981,818 bytes). For the
# owners' first address, http://emodb.bilderbar.info/download/download.zip, no checksum is published: unpack
# that archive yourself and give it with --corpus DIR.
# Licence of the record: CC BY 4.0. Cite Burkhardt et al., Interspeech 2005, pages 1517-1520.
set -euo pipefail
. "$(dirname "$0")/../../common.sh"

fetch https://zenodo.org/records/7447302/files/emodb.zip \
  9d21362dbc5676ef3ab4745d83ced0db "${1:?give the folder to fetch into: local/download.sh DIR}"
