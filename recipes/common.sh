# shellcheck shell=bash
# The grammar all recipes share. Sourced by run.sh after its defaults are set; bash 3.2 suffices.
#
#   options NAME... -- "$@"       set the variables NAME from --name VALUE; --help prints the script's header, and
#                                 that of $more_help
#   stage N TITLE                 is stage N asked for (--stage, --stop-stage)?
#   run LOG COMMAND...            run a program here, its output in LOG
#   slurm --OPTION... LOG COMMAND...   the same as a job of Slurm; the options are sbatch's
#   job RUNNER LOG COMMAND...     the same beside the others, at most --nj at once; finish waits for them all
#   each_fold RUNNER STEP ARG...  `emotion STEP ARG...` for each fold of the data, as jobs
#   folds DIR [K]                 the folds below a split data directory
#   fetch URL MD5 DIR             download, check, unpack; once

# glibc hands each large block back to the system and asks for it anew; a training step takes and frees hundreds.
# Keeping them made a step of the series model 15 % faster (measured on a CPU). Other C libraries ignore this.
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-4294967296}

log() { echo "$(date +%Y-%m-%dT%H:%M:%S) ${0##*/}: $*"; }

refuse() { echo "${0##*/}: $*" >&2; }

more_help=''   # a file whose header tells more options

whole_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

# Values are only ever assigned, never run: no eval, and no arithmetic on a value that is not a whole number
# ($(( )) and [[ -le ]] would run the command in 'a[$(command)]').
options() {
  local names='' all='' name known value
  while [ "$1" != -- ]; do names="$names $1" all="$all --${1//_/-}"; shift; done
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage "$names"; exit 0 ;;
      --?*) name=${1#--}; name=${name%%=*}; name=${name//-/_} ;;
      *) refuse "'$1' is not an option: write --name VALUE. Options:$all"; exit 2 ;;
    esac
    for known in $names ''; do [ "$name" = "$known" ] && break; done
    [ -n "$known" ] || { refuse "unknown option ${1%%=*}. Options:$all"; exit 2; }
    case $1 in
      *=*) value=${1#*=} ;;
      *)
        case ${2---} in --*) refuse "$1 needs a value: write $1 VALUE"; exit 2 ;; esac
        value=$2; shift ;;
    esac
    shift
    if whole_number "${!name-}" && ! whole_number "$value"; then
      refuse "--${name//_/-} takes a whole number, not '$value'"; exit 2
    fi
    IFS= read -r "${name?}" <<<"$value"
  done
}

# The comment on top of a script, without its first line.
header() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1"; }

usage() {
  local name script=$0
  [ -f "$script" ] || script=${0##*/}   # run.sh has moved to its own folder
  header "$script"
  [ -z "$more_help" ] || header "$more_help"
  printf '\nNow:'
  for name in $1; do printf ' --%s %q' "${name//_/-}" "${!name-}"; done
  echo
}

# shellcheck disable=SC2154   # stage and stop_stage are the script's options
stage() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  log "stage $1: $2"
}

# As Kaldi's run.pl writes it: the command on top, the output inside, the end code last. A log that is there
# is continued, so a rerun that finds nothing to do does not wipe the log of the training.
# COMMAND is a program: errexit is off inside a shell function called here.
run() {
  local file=$1 begin code=0
  shift
  mkdir -p "$(dirname "$file")"
  begin=$(date +%s)
  log "log in $file"
  { printf '#'; printf ' %q' "$@"; printf '\n# Started at %s\n#\n' "$(date)"; } >>"$file"
  "$@" >>"$file" 2>&1 || code=$?
  [ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
  echo "# Ended (code $code) at $(date), elapsed time $(($(date +%s) - begin)) seconds" >>"$file"
  [ "$code" = 0 ] || { tail -n 20 "$file"; refuse "failed with code $code; the log is in $file"; } >&2
  return "$code"
}

# Stopped, this no longer waits, but the job goes on. Of jobs with one name one runs at a time (singleton), so the next
# run of the recipe waits for it and then does only what is left.
slurm() {
  local request=(--wait --dependency=singleton --open-mode=append) file
  while [ "${1#--}" != "$1" ]; do request+=("$1"); shift; done
  file=$1
  shift
  run "$file" sbatch "${request[@]}" --job-name="$PWD/$file" --output="$file" "${BASH_SOURCE[0]%/*}/srun.sh" "$@"
}

running='' failed=0   # process ids of jobs, oldest first; how many ended badly

# Each job is a process group, so that an interrupted recipe can stop all its programs (a plain background job
# ignores Ctrl-C). The oldest job is waited for by its id: a bare wait would hide how it ended.
job() {
  [ "${nj:=1}" -ge 1 ] || { refuse "--nj $nj would start no job: use 1 or more"; return 2; }
  share_cores
  while [ "$(count $running)" -ge "$nj" ]; do collect $running; done
  trap stop_jobs EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  set -m
  ("$@") </dev/null &
  set +m
  running="$running $!"
}

# Jobs beside each other, and the processes of each, divide the cores: more threads than cores slow all of them down.
share_cores() {
  local cores processes=$nj
  if whole_number "${devices-}" && [ "$devices" -gt 1 ]; then processes=$((nj * devices)); fi
  cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  [ "$cores" -gt "$processes" ] || cores=$processes
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores / processes))}"
}

count() { echo $#; }

collect() {
  wait "$1" || failed=$((failed + 1))
  shift
  running=$*
}

finish() {
  while [ -n "$running" ]; do collect $running; done
  local bad=$failed
  failed=0
  [ "$bad" = 0 ] || { refuse "$bad job(s) failed, see above. Mend that and run the stage again"; return 1; }
}

stop_jobs() { local id; for id in $running; do kill -- "-$id" 2>/dev/null || true; done; }

# The same step for every fold asked for, each a job. In the arguments of `emotion STEP`, @data is the fold's data
# directory, @exp its folder of experiments and @fold its name; the recipe sets data, root, fold and seed.
# shellcheck disable=SC2154
each_fold() {
  local runner=$1 step=$2 ks k dir argument arguments
  shift 2
  ks=$(folds "$data" "$fold")
  for k in $ks; do
    dir=$root/fold$k/seed$seed arguments=()
    for argument in "$@"; do
      argument=${argument/#@data/"$data/fold$k"}   # quoted: bash 5.2 would fill in what matched for &
      argument=${argument/#@exp/"$dir"}
      argument=${argument//@fold/fold$k}
      arguments+=("${argument//@seed/seed$seed}")
    done
    job $runner "$dir/log/$step.log" emotion "$step" "${arguments[@]}"
  done
  finish
}

folds() {
  local k=1 all=''
  while [ -d "$1/fold$k" ]; do all="$all $k"; k=$((k + 1)); done
  [ -n "$all" ] || { refuse "$1 holds no fold1: run stage 1 first"; return 1; }
  [ -n "${2-}" ] || { echo "$all"; return; }
  for k in $all; do [ "$k" = "$2" ] && { echo "$k"; return; }; done
  refuse "no fold '$2' in $1: there are$all"
  return 1
}

find_emotion() {
  command -v emotion >/dev/null 2>&1 || {
    refuse "no 'emotion' command on PATH, so no stage can run." \
      "Activate the virtual environment it lives in, or install it: pip install -e ../.."
    return 1
  }
  python3 -c 'import emotion' 2>/dev/null || {
    refuse "python3 ($(command -v python3)) cannot import emotion, so local/*.py cannot run." \
      "Activate the virtual environment in which $(command -v emotion) lives."
    return 1
  }
}

md5() {
  [ -f "$1" ] && python3 - "$1" <<'PY'
import hashlib, sys
with open(sys.argv[1], "rb") as file:
    digest = hashlib.md5()
    while block := file.read(1 << 20):
        digest.update(block)
print(digest.hexdigest())
PY
}

fetch() {
  local url=$1 expected=$2 dir=$3 archive actual
  archive=$dir/${url##*/}
  if [ -e "$dir/.complete" ]; then log "$dir is complete"; return; fi
  mkdir -p "$dir"
  if [ "$(md5 "$archive" || true)" != "$expected" ]; then
    download "$url" "$archive" || {
      refuse "could not fetch $url. Run again to go on where it stopped (remove $archive if it is damaged);" \
        "or fetch it with a browser, put it there, run again; or give the unpacked corpus with --corpus DIR"
      return 1
    }
  fi
  actual=$(md5 "$archive")
  [ "$actual" = "$expected" ] || {
    refuse "$archive has MD5 $actual, published is $expected: damaged or changed, so it is not unpacked." \
      "Remove it and run again"
    return 1
  }
  log "unpacking $archive"
  python3 -m zipfile -e "$archive" "$dir"
  touch "$dir/.complete"
}

download() {
  if command -v curl >/dev/null 2>&1; then curl -fL --retry 3 -C - -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then wget -c -O "$2" "$1"
  else refuse "neither curl nor wget is installed"; return 1
  fi
}
