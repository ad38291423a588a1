#!/usr/bin/env bash
# Speed beside peers, in one table: run.sh RECORDINGS (a folder), of which 200 are taken.
# The other measurements of local/ are called one by one; README.md names them.
set -euo pipefail
cd "$(dirname "$0")"
recordings=$(realpath "${1:?which folder of recordings?}")
python=${PYTHON:-python3}
first=$("$python" -c 'import sys; from emotion import audio; print(audio.find(sys.argv[1])[0])' "$recordings")
"$python" local/start.py "$first"
echo
"$python" local/speed.py "$recordings"
