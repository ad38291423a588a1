#!/usr/bin/env bash
# Speed beside peers, in one table: run.sh RECORDINGS (a folder), of which 200 are taken.
# The other measurements of local/ are called one by one; README.md names them.
set -euo pipefail
case ${1---help} in
  --help | -h) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
esac
recordings=$(cd "$1" && pwd)
cd "$(dirname "$0")"
python=${PYTHON:-python3}
first=$("$python" -c 'import sys; from emotion import audio; print(audio.find(sys.argv[1])[0])' "$recordings")
"$python" local/start.py "$first"
echo
"$python" local/speed.py "$recordings"
