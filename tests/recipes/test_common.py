"""recipes/common.sh and the run.sh files: options, stages, logs, jobs, downloads."""

import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion import datadir

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SCRIPTS = [path for pattern in ("*.sh", "*/*.sh", "*/local/*.sh") for path in sorted(RECIPES.glob(pattern))]
SPLITS = {   # each recipe's own
    "mini": "heldout", "ravdess": "luna5", "emodb": "loso10", "nemo": "loso9", "iemocap": "sessions5",
    "msp_podcast": "official", "template": "folds",
}
ALL = sorted(path.parent.name for path in RECIPES.glob("*/run.sh") if path.parent.name != "bench")
HEAD = """#!/usr/bin/env bash
# Says what it was given.
#
#   demo.sh --stage N

set -euo pipefail
stage=0 stop_stage=5 nj=1 corpus='' conf=conf/serial.yaml
. "$COMMON"
"""
OPTIONS = 'options stage stop_stage nj corpus conf -- "$@"\n'
SHOW = 'printf "%s\\n" "$stage" "$stop_stage" "$nj" "$corpus" "$conf"\n'


@pytest.fixture
def environment(tmp_path):
    """An environment where python3 is this one and emotion can be imported, without an emotion command."""
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bin / "python3").chmod(0o755)
    return {
        **os.environ, "COMMON": str(RECIPES / "common.sh"), "PYTHONPATH": str(RECIPES.parent),
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture
def script(tmp_path, environment):
    """Runs bash lines behind the head above, with arguments, in tmp_path."""

    def call(body, *arguments, given="", **variables):
        path = tmp_path / "demo.sh"
        path.write_text(HEAD + body)
        return subprocess.run(
            ["bash", str(path), *arguments], cwd=tmp_path, env=environment | variables, capture_output=True,
            text=True, timeout=60, input=given,
        )

    return call


def command(path, *lines):
    """An executable of these bash lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/usr/bin/env bash", "set -euo pipefail", *lines, ""]))
    path.chmod(0o755)


# Options


@pytest.mark.parametrize("given", ["--stop-stage 2", "--stop_stage 2", "--stop-stage=2", "--stop_stage=2"])
def test_an_option_is_spelt_with_hyphen_or_underscore_and_with_space_or_equals(script, given):
    assert script(OPTIONS + SHOW, *given.split()).stdout == "0\n2\n1\n\nconf/serial.yaml\n"


def test_options_left_out_keep_their_defaults_and_the_last_of_two_counts(script):
    shown = script(OPTIONS + SHOW, "--corpus", "a", "--corpus", "b c").stdout
    assert shown == "0\n5\n1\nb c\nconf/serial.yaml\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_prints_the_header_and_the_values_in_force(script, flag):
    result = script(OPTIONS + "echo went on", "--stop-stage", "3", flag)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout == (
        "Says what it was given.\n\n  demo.sh --stage N\n\n"
        "Now: --stage 0 --stop-stage 3 --nj 1 --corpus '' --conf conf/serial.yaml\n"
    )


def test_help_works_for_an_option_that_has_no_default(script):
    assert "--fold ''" in script('options stage fold -- "$@"', "--help").stdout


@pytest.mark.parametrize("given", ["--stages", "--PATH", "--", "--=x", "--stage nj", "--a[$(touch made)]"])
def test_an_unknown_option_is_refused_with_those_there_are(script, given, tmp_path):
    result = script(OPTIONS + "echo went on", given, "1")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--stage --stop-stage --nj --corpus --conf" in result.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("given", [("--conf",), ("--stage", "1", "--conf"), ("--conf", "--stage", "1")])
def test_an_option_without_a_value_is_refused(script, given):
    result = script(OPTIONS + "echo went on", *given)
    assert (result.returncode, result.stdout) == (2, "")
    assert "--conf needs a value: write --conf VALUE" in result.stderr


def test_a_bare_word_is_refused(script):
    result = script(OPTIONS, "corpus")
    assert result.returncode == 2 and "write --name VALUE" in result.stderr


EVIL = ["$(touch made)", "`touch made`", "; touch made", "'; touch made", "x[$(touch made)]", "*", "%s", "-1"]


@pytest.mark.parametrize("value", EVIL)
def test_a_value_is_taken_as_it_stands_and_never_run(script, value, tmp_path):
    assert script(OPTIONS + SHOW, "--corpus", value).stdout.split("\n")[3] == value
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [*EVIL, "two", "", "1.5", "0x1"])
def test_an_option_that_counts_takes_whole_numbers_only(script, value, tmp_path):
    result = script(OPTIONS + "if stage 1 x; then job true; finish; fi", "--nj", value)
    assert result.returncode == 2 and "--nj takes a whole number" in result.stderr
    assert not (tmp_path / "made").exists()


# Stages


def test_only_the_stages_asked_for_run(script):
    body = OPTIONS + "for n in 0 1 2 3 4 5; do if stage $n title$n; then echo ran $n; fi; done"
    lines = script(body, "--stage", "2", "--stop-stage", "3").stdout.splitlines()
    assert [line for line in lines if "ran" in line] == ["ran 2", "ran 3"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d demo.sh: stage 2: title2", lines[0])


# Logs


def test_a_log_has_the_command_on_top_the_output_inside_and_the_end_code_last(script, tmp_path):
    result = script("run exp/log/a.log bash -c 'echo out; echo err >&2'")
    assert result.returncode == 0 and "exp/log/a.log" in result.stdout
    lines = (tmp_path / "exp/log/a.log").read_text().splitlines()
    assert lines[0] == "# bash -c echo\\ out\\;\\ echo\\ err\\ \\>\\&2"
    assert lines[1].startswith("# Started at ") and lines[2:5] == ["#", "out", "err"]
    assert re.fullmatch(r"# Ended \(code 0\) at .+, elapsed time \d+ seconds", lines[5]) and len(lines) == 6


def test_a_failed_command_shows_the_end_of_its_log_and_stops_the_script(script, tmp_path):
    result = script("run a.log bash -c 'seq 100; printf broken; exit 3'; echo went on")
    assert result.returncode == 3 and "went on" not in result.stdout
    assert "100\nbroken\n# Ended (code 3)" in result.stderr and "\n50\n" not in result.stderr
    assert "failed with code 3; the log is in a.log" in result.stderr
    assert "# Ended (code 3)" in (tmp_path / "a.log").read_text().splitlines()[-1]


def test_a_missing_command_is_in_the_log_too(script, tmp_path):
    assert script("run a.log no-such-command").returncode == 127
    assert "not found" in (tmp_path / "a.log").read_text()


def test_a_second_run_continues_the_log(script, tmp_path):
    script("run a.log echo first; run a.log echo second")
    text = (tmp_path / "a.log").read_text()
    assert text.index("# echo first") < text.index("code 0") < text.index("# echo second")


# Jobs


def test_a_failed_job_fails_the_script_after_the_others_have_ended(script, tmp_path):
    body = """
nj=3
job run 1.log bash -c 'sleep 0.4; touch done1'
job run 2.log bash -c 'exit 7'
job run 3.log touch done3
finish
echo went on
"""
    result = script(body)
    assert result.returncode == 1 and "went on" not in result.stdout
    assert "2.log" in result.stderr and "1 job(s) failed" in result.stderr
    assert (tmp_path / "done1").exists() and (tmp_path / "done3").exists()


@pytest.mark.parametrize("nj", [1, 2])
def test_a_failure_is_not_forgotten_while_waiting_for_a_free_place(script, nj):
    result = script(f"nj={nj}; job false; job true; job true; job true; finish; echo went on")
    assert result.returncode == 1 and "went on" not in result.stdout


def test_jobs_that_all_end_well_let_the_script_go_on(script):
    result = script("nj=2; job true; job true; job true; finish; finish; echo went on")
    assert result.returncode == 0 and "went on" in result.stdout


def test_a_failure_counts_once(script):
    assert "recovered" in script("nj=2; job false; finish || job true; finish; echo recovered").stdout


@pytest.mark.parametrize("nj", [1, 2, 3])
def test_as_many_jobs_run_at_once_as_asked_and_no_more(script, nj, tmp_path):
    (tmp_path / "now").mkdir()
    (tmp_path / "begun").mkdir()
    command(
        tmp_path / "one", "touch now/$1 begun/$1",
        f"for try in $(seq 500); do [ $(ls begun | wc -l) -ge {nj} ] && break; sleep 0.02; done",
        "ls now | wc -l >>counts", "sleep 0.1", "rm now/$1",
    )
    script(f"nj={nj}; for k in 1 2 3 4; do job ./one $k; done; finish")
    assert max(int(count) for count in (tmp_path / "counts").read_text().split()) == nj


@pytest.mark.parametrize("cores, nj, devices, threads", [
    (8, 1, "", 8), (8, 2, "1", 4), (8, 3, "", 2), (2, 4, "", 1), (8, 2, "2", 2), (2, 1, "4", 1),
])
def test_jobs_beside_each_other_and_their_processes_share_the_cores(script, environment, cores, nj, devices, threads):
    getconf = Path(environment["PATH"].split(os.pathsep)[0]) / "getconf"
    getconf.write_text(f"#!/bin/sh\necho {cores}\n")
    getconf.chmod(0o755)
    body = f"unset OMP_NUM_THREADS; nj={nj} devices={devices}; job printenv OMP_NUM_THREADS; finish"
    assert script(body).stdout == f"{threads}\n"
    assert script(body.removeprefix("unset OMP_NUM_THREADS; "), OMP_NUM_THREADS="5").stdout == "5\n"


def test_a_job_does_not_eat_the_input_of_the_script(script):
    assert script("job cat; finish; cat", given="for the script").stdout == "for the script"


def test_no_jobs_at_once_is_refused(script):
    result = script(OPTIONS + "job true", "--nj", "0")
    assert result.returncode == 2 and "use 1 or more" in result.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_recipe_stops_its_jobs(tmp_path, environment, stop):
    path = tmp_path / "demo.sh"
    jobs = "nj=2; for k in 1 2; do job run $k.log bash -c 'echo up; sleep 60; true'; done; finish"
    path.write_text(HEAD + jobs)
    heard, held = os.pipe()   # every program below the script holds one end: it closes when the last is gone
    process = subprocess.Popen(
        ["bash", str(path)], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, pass_fds=[held],
        start_new_session=True, preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    )
    os.close(held)
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    end = time.monotonic() + 10
    while not all(log.exists() and "\nup\n" in log.read_text() for log in logs) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(stop)
    assert process.wait(10) == 128 + stop
    assert select.select([heard], [], [], 10)[0] and os.read(heard, 1) == b""
    os.close(heard)


# Folds


def test_folds_are_those_of_the_data_directory_or_the_one_asked_for(script, tmp_path):
    for k in range(1, 12):
        (tmp_path / f"data/fold{k}").mkdir(parents=True)
    assert script("folds data").stdout.split() == [str(k) for k in range(1, 12)]
    assert script("folds data ''").stdout.split() == [str(k) for k in range(1, 12)]
    assert script("folds data 10").stdout.split() == ["10"]


@pytest.mark.parametrize("fold", ["12", "0", "01", "1 2", "*", "$(touch made)"])
def test_a_fold_that_is_not_there_is_refused_with_those_there_are(script, tmp_path, fold):
    (tmp_path / "data/fold1").mkdir(parents=True)
    (tmp_path / "data/fold2").mkdir()
    result = script('ks=$(folds data "$1"); echo went on', fold)
    assert result.returncode == 1 and "there are 1 2" in result.stderr and result.stdout == ""
    assert not (tmp_path / "made").exists()


def test_folds_before_stage_1_are_refused(script):
    result = script("ks=$(folds data); echo went on")
    assert result.returncode == 1 and "run stage 1 first" in result.stderr and result.stdout == ""


# Downloads


@pytest.fixture
def archive(tmp_path):
    """A published archive, its MD5, and curl and wget that get the part of it that is not there yet."""
    path = tmp_path / "published.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("Actor_01/a.wav", "sound")
    for name, flag in (("curl", "-o"), ("wget", "-O")):
        command(
            tmp_path / "bin" / name,
            f'echo {name} "$@" >>"{tmp_path}/calls"',
            f'while [ "$1" != {flag} ]; do shift; done',
            'have=0; [ ! -f "$2" ] || have=$(wc -c <"$2")',
            f'tail -c "+$((have + 1))" "{path}" >>"$2"',
        )
    return path, hashlib.md5(path.read_bytes()).hexdigest()


def test_an_archive_is_fetched_checked_and_unpacked_once(script, archive, tmp_path):
    path, md5 = archive
    fetch = f"fetch https://example.org/files/a.zip {md5} downloads"
    assert script(f"{fetch}; {fetch}").returncode == 0
    assert (tmp_path / "downloads/Actor_01/a.wav").read_text() == "sound"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].endswith("https://example.org/files/a.zip")


def test_a_download_that_was_cut_goes_on(script, archive, tmp_path):
    path, md5 = archive
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.zip").write_bytes(path.read_bytes()[:20])
    assert script(f"fetch https://example.org/a.zip {md5} downloads").returncode == 0
    assert "-C -" in (tmp_path / "calls").read_text()
    assert (tmp_path / "downloads/Actor_01/a.wav").exists()


def test_an_archive_that_is_there_is_not_fetched(script, archive, tmp_path):
    path, md5 = archive
    (tmp_path / "downloads").mkdir()
    shutil.copy(path, tmp_path / "downloads/a.zip")
    assert script(f"fetch https://example.org/a.zip {md5} downloads").returncode == 0
    assert not (tmp_path / "calls").exists()


def test_wget_serves_where_curl_is_missing(script, archive, tmp_path):
    path, md5 = archive
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "date", "mkdir", "tail", "touch", "wc"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("python3", "wget"):
        shutil.copy(tmp_path / "bin" / name, tools / name)
    assert script(f"fetch https://example.org/a.zip {md5} downloads", PATH=str(tools)).returncode == 0
    assert (tmp_path / "calls").read_text().startswith("wget -c")
    (tools / "wget").unlink()
    result = script(f"fetch https://example.org/a.zip {md5} elsewhere", PATH=str(tools))
    assert result.returncode == 1 and "neither curl nor wget" in result.stderr
    assert "with --corpus DIR" in result.stderr


@pytest.mark.parametrize("recipe", ["ravdess", "emodb"])
def test_an_archive_that_is_not_the_published_one_is_not_unpacked(recipe, recipes, archive, tmp_path):
    result = recipes(recipe, "--stop-stage", "0")
    assert result.returncode == 1 and "so it is not unpacked. Remove it" in result.stderr
    assert not (tmp_path / "recipes" / recipe / "downloads/Actor_01").exists()
    assert "https://zenodo.org/records/" in (tmp_path / "calls").read_text()


def test_nemo_is_not_fetched_but_told_where_to_get(recipes, archive, tmp_path):
    result = recipes("nemo", "--stop-stage", "0")
    assert result.returncode == 1 and not (tmp_path / "calls").exists()
    for told in ("holds no data.tsv", "git clone", "github.com/amu-cai/nEMO", "--corpus DIR"):
        assert told in result.stderr


def test_nemo_that_was_cloned_where_it_is_looked_for_is_taken(recipes, tmp_path):
    clone = tmp_path / "recipes/nemo/downloads/nEMO"
    clone.mkdir(parents=True)
    (clone / "data.tsv").touch()
    assert recipes("nemo", "--stop-stage", "0").returncode == 0


# Recipes


@pytest.fixture
def recipes(tmp_path, environment):
    """Runs the run.sh of a copied recipe with an emotion command that only writes down its arguments."""
    ignore = shutil.ignore_patterns("data", "exp", "downloads", "results", "__pycache__")
    shutil.copytree(RECIPES, tmp_path / "recipes", ignore=ignore)
    command(tmp_path / "bin/emotion", f'printf "%s\\n" "$*" >>"{tmp_path}/emotion.calls"')
    for recipe, split in [*SPLITS.items(), ("ravdess", "other")]:
        for k in (1, 2):
            (tmp_path / "recipes" / recipe / f"data/{split}/fold{k}").mkdir(parents=True)

    def call(recipe, *arguments, **variables):
        return subprocess.run(
            ["bash", f"recipes/{recipe}/run.sh", *arguments], cwd=tmp_path, env=environment | variables,
            capture_output=True, text=True, timeout=60,
        )

    call.calls = lambda: (tmp_path / "emotion.calls").read_text().splitlines()
    return call


@pytest.mark.parametrize(("recipe", "split"), SPLITS.items())
def test_every_fold_is_trained_calibrated_and_evaluated_on_its_own_speakers(recipe, split, recipes, tmp_path):
    result = recipes(recipe, "--stage", "2")
    assert result.returncode == 0, result.stderr
    data, exp = f"data/{split}", f"exp/serial/{split}"
    assert recipes.calls() == [
        *(f"train --conf conf/serial.yaml --train {data}/fold{k}/train --valid {data}/fold{k}/valid "
          f"--exp {exp}/fold{k}/seed1 --seed 1 --device auto --devices 1 --nodes 1" for k in (1, 2)),
        *(f"calibrate {exp}/fold{k}/seed1 {data}/fold{k}/valid --device auto" for k in (1, 2)),
        *(f"evaluate {exp}/fold{k}/seed1 {data}/fold{k}/test --device auto" for k in (1, 2)),
        f"results {exp} -o {exp}/RESULTS.md",
    ]
    logs = tmp_path / "recipes" / recipe / exp / "fold2/seed1/log"
    assert sorted(log.name for log in logs.iterdir()) == ["calibrate.log", "evaluate.log", "train.log"]


def test_a_folder_of_any_name_arrives(recipes):
    assert recipes("emodb", "--stage", "2", "--stop-stage", "2", "--fold", "1", "--exp", "R&D exp").returncode == 0
    assert "--exp R&D exp/serial/loso10/fold1/seed1 --seed 1" in recipes.calls()[0]


def test_every_option_of_a_recipe_arrives(recipes, tmp_path):
    options = "--stage 2 --stop_stage 3 --fold 2 --seed 7 --nj 2 --device cuda --devices 4 --nodes 3 --exp e"
    files = "--conf a/b.yaml --split x/other.yaml"
    assert recipes("ravdess", *options.split(), *files.split()).returncode == 0
    assert recipes.calls() == [
        "train --conf a/b.yaml --train data/other/fold2/train --valid data/other/fold2/valid "
        "--exp e/b/other/fold2/seed7 --seed 7 --device cuda --devices 4 --nodes 3",
        "calibrate e/b/other/fold2/seed7 data/other/fold2/valid --device cuda",
    ]


@pytest.mark.parametrize("recipe", ["ravdess", "emodb", "nemo"])
def test_further_words_reach_the_training_of_each_fold(recipe, recipes):
    teachers = "--teachers a/@fold/seed1 b/@fold/seed1 --set fit.max_epochs=3"
    assert recipes(recipe, "--stage", "2", "--stop-stage", "2", f"--train-args={teachers}").returncode == 0
    ends = [line.partition("--nodes 1 ")[2] for line in recipes.calls()]
    assert ends == [teachers.replace("@fold", f"fold{k}") for k in (1, 2)]


@pytest.mark.parametrize(("recipe", "file"), [("ravdess", "03-01-06-01-02-01-12"), ("emodb", "03a01Fa")])
def test_a_corpus_that_is_there_is_prepared_and_nothing_is_fetched(recipe, file, recipes, archive, tmp_path):
    (tmp_path / "my corpus").mkdir()
    soundfile.write(tmp_path / "my corpus" / f"{file}.wav", np.full(1600, 0.1), 16000)
    result = recipes(recipe, "--stop-stage", "1", "--corpus", str(tmp_path / "my corpus"))
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "calls").exists()
    assert f"my corpus/{file}.wav" in (tmp_path / "recipes" / recipe / "data/all/wav.scp").read_text()
    split = SPLITS[recipe]
    split_call = f"data split data/all conf/splits/{split}.yaml data/{split}"
    assert recipes.calls() == ["data validate data/all", split_call, "data check data/all"]


@pytest.mark.parametrize("recipe", ["emodb", "nemo"])
def test_a_corpus_can_be_cut_to_some_emotions(recipe, recipes, tmp_path):
    soundfile.write(tmp_path / "03a01Fa.wav", np.full(1600, 0.1), 16000)
    (tmp_path / "data.tsv").write_text("file_id\temotion\tspeaker_id\tgender\n03a01Fa.wav\tanger\tEB0\tfemale\n")
    choice = ["--stop-stage", "1", "--corpus", str(tmp_path), "--emotions", "anger,happiness"]
    assert recipes(recipe, *choice).returncode == 0
    data = f"data/{SPLITS[recipe]}-anger-happiness"
    assert recipes.calls() == [
        "data validate data/all",
        f"data subset data/all {data}/all --emotions anger,happiness",
        f"data split {data}/all conf/splits/{SPLITS[recipe]}.yaml {data}",
        f"data check {data}/all",
    ]


def test_a_recording_of_two_speakers_is_told_and_the_recipe_goes_on(recipes, tmp_path):
    command(tmp_path / "bin/emotion", 'if [ "$1 $2" = "data check" ]; then exit 1; fi')
    soundfile.write(tmp_path / "03a01Fa.wav", np.full(1600, 0.1), 16000)
    result = recipes("emodb", "--stop-stage", "1", "--corpus", str(tmp_path))
    assert result.returncode == 0 and "warning: see above. Where two speakers share a recording" in result.stdout


def test_variants_of_a_corpus_are_in_the_names_of_data_and_experiments(recipes, tmp_path):
    for k in (1, 2):
        (tmp_path / f"recipes/msp_podcast/data/official-Test2-train/fold{k}").mkdir(parents=True)
    options = "--stage 4 --fold 2 --test Test2 --unknown train"
    assert recipes("msp_podcast", *options.split()).returncode == 0
    data, exp = "data/official-Test2-train", "exp/serial/official-Test2-train"
    assert recipes.calls() == [
        f"evaluate {exp}/fold2/seed1 {data}/fold2/test --device auto", f"results {exp} -o {exp}/RESULTS.md",
    ]


@pytest.mark.parametrize(("model", "name"), [("bundled", "bundled"), ("../cremad/exp/a.b", "cremad-exp-a-b")])
def test_tess_is_scored_by_a_model_of_other_corpora(model, name, recipes):
    assert recipes("tess", "--stage", "4", "--model", model).returncode == 0
    exp = f"exp/{name}/both"
    assert recipes.calls() == [
        f"evaluate {model} data/all --device auto --out {exp}/fold1/seed1", f"results {exp} -o {exp}/RESULTS.md",
    ]


@pytest.mark.parametrize("recipe", ALL)
def test_help_needs_no_emotion_command_and_names_every_option(recipe, recipes, tmp_path):
    (tmp_path / "bin/emotion").unlink()
    result = recipes(recipe, "--help")
    assert result.returncode == 0 and result.stderr == ""
    described, now = result.stdout.split("\nNow:")
    for option in re.findall(r"--[a-z-]+", now):
        assert re.search(rf"^(?:--.*, )?{option} [A-Z]+[,. \n]", described, re.MULTILINE), option


def test_a_failed_training_stops_the_recipe_before_calibration(recipes, tmp_path):
    fail = 'case "$*" in *fold1/train*) echo no memory; exit 1 ;; esac'
    command(tmp_path / "bin/emotion", f'echo "$1" >>"{tmp_path}/emotion.calls"', fail)
    result = recipes("ravdess", "--stage", "2", "--nj", "2")
    assert result.returncode == 1 and "no memory" in result.stderr
    assert "exp/serial/luna5/fold1/seed1/log/train.log" in result.stderr
    assert recipes.calls() == ["train", "train"]


def test_a_missing_emotion_command_is_told_with_the_remedy(recipes, environment, tmp_path):
    (tmp_path / "bin/emotion").unlink()
    path = environment["PATH"].split(os.pathsep)
    without = os.pathsep.join(folder for folder in path if not Path(folder, "emotion").exists())
    result = recipes("mini", "--stage", "2", PATH=without)
    assert result.returncode == 1
    assert "no 'emotion' command on PATH" in result.stderr and "pip install -e ../.." in result.stderr


def test_a_python_without_emotion_is_told_with_the_remedy(recipes, tmp_path):
    command(tmp_path / "bin/python3", "exit 1")
    result = recipes("mini", "--stage", "2")
    assert result.returncode == 1 and "cannot import emotion" in result.stderr


# Across corpora


def small_corpus(folder, name, emotions):
    """A data directory of four speakers, each with a noise of each emotion."""
    utterances = []
    for k, (speaker, emotion) in enumerate((f"{name}{n}", emotion) for n in range(4) for emotion in emotions):
        wav = folder / f"{speaker}-{emotion}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, np.random.default_rng(100 * ord(name) + k).uniform(-0.1, 0.1, 8000), 16000)
        utterances.append(datadir.Utterance(f"{speaker}-{emotion}", speaker, str(wav), emotion))
    datadir.write(folder, utterances)


def test_each_corpus_and_all_others_train_and_every_corpus_is_tested_by_who_never_heard_it(recipes, tmp_path):
    real = f'if [ "$1" = data ]; then exec "{sys.executable}" -m emotion "$@"; fi'
    command(tmp_path / "bin/emotion", f'printf "%s\\n" "$*" >>"{tmp_path}/emotion.calls"', real)
    for name, folder in (("a", tmp_path / "recipes/a/data/all"), ("b", tmp_path / "b"), ("c", tmp_path / "c")):
        small_corpus(folder, name, ("anger", "boredom", "calm"))
    corpora = f"a,b={tmp_path}/b,c={tmp_path}/c"
    result = recipes("cross_corpus", "--corpora", corpora, "--stop-stage", "4", "--seed", "3", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    data = tmp_path / "recipes/cross_corpus/data"
    assert {u.emotion for u in datadir.read(data / "a/all")} == {"anger", "calm"}
    without_b = {part: {u.speaker[0] for u in datadir.read(data / f"a-b-c/without_b/fold1/{part}")}
                 for part in ("train", "valid")}
    assert without_b == {"train": {"a", "c"}, "valid": {"a", "c"}}
    calls = [call for call in recipes.calls() if not call.startswith("data ")]
    rows = ["a", "b", "c", "a-b-c/without_a", "a-b-c/without_b", "a-b-c/without_c"]
    assert [call for call in calls if call.startswith("train ")] == [
        f"train --conf conf/serial.yaml --train data/{row}/fold1/train --valid data/{row}/fold1/valid "
        f"--exp exp/serial/{row}/seed3 --seed 3 --device cpu --devices 1 --nodes 1" for row in rows
    ]
    cells = [(row, column, f"data/{column}/" + ("fold1/test" if row == column else "all"))
             for row in "abc" for column in "abc"]
    cells += [(f"a-b-c/without_{column}", column, f"data/{column}/all") for column in "abc"]
    expected = [
        f"evaluate exp/serial/{row}/seed3 {test} --out exp/serial/{row}/seed3/on/{column} --device cpu{own}"
        for row, column, test in cells for own in ("", " --own-statistics")
    ]
    assert [call for call in calls if call.startswith("evaluate ")] == expected


@pytest.mark.parametrize(("corpora", "said"), [
    ("ravdess", "is one corpus: nothing is across"),
    ("a b=x,c=y", "'a b' is no name of a corpus"),
    ("nowhere,ravdess", "write it with ../nowhere/run.sh --stage 1 --stop-stage 1, or name one: nowhere=DIR"),
])
def test_corpora_that_cannot_be_crossed_are_refused(corpora, said, recipes, tmp_path):
    result = recipes("cross_corpus", "--corpora", corpora)
    assert result.returncode in (1, 2) and said in result.stderr
    assert not (tmp_path / "emotion.calls").exists()


def test_a_recording_in_two_corpora_stops_the_crossing(recipes, tmp_path):
    real = f'[ "$1 $2" != "data check" ] || exit 1; exec "{sys.executable}" -m emotion "$@"'
    command(tmp_path / "bin/emotion", real)
    for name in "ab":
        small_corpus(tmp_path / name, name, ("anger", "calm"))
    result = recipes("cross_corpus", "--corpora", f"a={tmp_path}/a,b={tmp_path}/b", "--stop-stage", "2")
    assert result.returncode == 1 and "stage 2" not in result.stdout


# Slurm


@pytest.fixture
def slurm(recipes, tmp_path):
    """A cluster that runs each job at once: what sbatch and srun were asked is in sbatch.calls and srun.calls."""
    words = 'while [ "${1#--}" != "$1" ]; do case $1 in --output=*) out=${1#*=} ;; esac; shift; done'
    for name, then in (("sbatch", '"$@" >>"$out" 2>&1'), ("srun", '"$@"')):
        command(tmp_path / "bin" / name, f'printf "%s\\n" "$*" >>"{tmp_path}/{name}.calls"', words, then)

    def call(recipe, *arguments):
        path = tmp_path / "recipes/cmd.sh"
        path.write_text(re.sub(r"^# (each=|export)", r"\1", path.read_text(), flags=re.MULTILINE))
        return recipes(recipe, *arguments)

    call.jobs = lambda: (tmp_path / "sbatch.calls").read_text().splitlines()
    return call


@pytest.mark.parametrize("recipe", [*SPLITS, "bundled"])
def test_with_the_lines_for_slurm_in_cmd_sh_each_training_is_a_job_on_as_many_devices_as_asked(
    recipe, slurm, recipes, tmp_path,
):
    for k in (1, 2):
        (tmp_path / f"recipes/bundled/data/six/fold{k}").mkdir(parents=True)
    options = "--stage 2 --stop-stage 3 --devices 2 --nodes 3 --nj 2"
    assert slurm(recipe, *options.split()).returncode == 0
    assert sorted(call.split()[0] for call in recipes.calls()) == ["calibrate"] * 2 + ["train"] * 2
    requests = [set(job.partition(" ../srun.sh ")[0].split()) for job in slurm.jobs()]
    for request in requests[:2]:
        assert {"--wait", "--nodes=3", "--ntasks-per-node=2", "--gres=gpu:2", "--cpus-per-task=4"} <= request
    for request in requests[2:]:
        assert {"--wait", "--gres=gpu:1"} <= request and "--nodes=3" not in request
    log = next(tmp_path.glob(f"recipes/{recipe}/exp/serial/*/fold1/seed1/log/train.log")).read_text()
    assert log.startswith("# sbatch --wait") and "emotion train" in log and "# Ended (code 0)" in log


def test_the_output_of_a_job_goes_into_its_log_and_its_code_back(slurm, tmp_path):
    command(tmp_path / "bin/emotion", "echo no memory on $OMP_NUM_THREADS cores; exit 3")
    result = slurm("ravdess", "--stage", "2", "--fold", "1")
    log = (tmp_path / "recipes/ravdess/exp/serial/luna5/fold1/seed1/log/train.log").read_text()
    assert result.returncode == 1 and "failed with code 3" in result.stderr
    assert re.search(r"#\nno memory on 1 cores\n# Ended \(code 3\)", log)


def test_a_job_has_the_cores_that_slurm_gave_it_and_its_words_as_they_are(slurm, script, tmp_path):
    command(tmp_path / "bin/show", 'printf "%s " "$OMP_NUM_THREADS" "$SRUN_CPUS_PER_TASK" "$@"')
    result = script("slurm --mem=1G a.log show 'a  b' '$HOME' é", SLURM_CPUS_PER_TASK="3", OMP_NUM_THREADS="64")
    assert result.returncode == 0 and "3 3 a  b $HOME é" in (tmp_path / "a.log").read_text()


def test_jobs_of_one_name_wait_for_each_other(slurm, tmp_path):
    slurm("ravdess", "--stage", "2", "--stop-stage", "2")
    names = [re.search(r"--job-name=(\S+)", job)[1] for job in slurm.jobs()]
    folder = tmp_path / "recipes/ravdess/exp/serial/luna5"
    assert names == [f"{folder}/fold{k}/seed1/log/train.log" for k in (1, 2)]
    assert all("--dependency=singleton" in job for job in slurm.jobs())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_script_is_valid_bash_stops_at_errors_and_has_no_eval(path):
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    text = path.read_text()
    assert "set -euo pipefail" in text or not os.access(path, os.X_OK)
    assert "eval " not in text
