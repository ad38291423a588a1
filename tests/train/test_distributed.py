"""Training by several processes, started as users start it: by torchrun and by --devices.

Run as a script, this file is one of the processes.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion import checkpoint, cli, datadir
from emotion.train import config, distributed, fit
from emotion.train.augment import AugmentConfig
from emotion.train.distributed import processes_of
from emotion.train.system import System

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]


def run(*command):
    """What a Python command said, once it has ended well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def table(exp):
    return np.genfromtxt(exp / "epochs.csv", delimiter=",", names=True)


def one_of_two(conf, data, exp, dies=False):
    """What each process does here: it trains, and notes what it did in each step and which files it opened to write.

    dies: the second process kills itself in its third epoch, the first time.
    """
    rank, losses, seeds, ends, weights, written = int(os.environ["RANK"]), [], [], [], {}, set()
    step, start = System.training_step, System.on_train_epoch_start

    def training_step(self, batch, batch_index):
        loss = step(self, batch, batch_index)
        losses.append(float(distributed.total(loss)) / 2)
        seeds.append(torch.initial_seed() % 2**32)   # what the processor's generator makes of it
        ends.append(signal.getsignal(signal.SIGTERM) is signal.default_int_handler)
        return loss

    def on_train_epoch_start(self):
        if dies and rank == 1 and self.current_epoch == 2 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        start(self)

    def on_train_end(self):
        weights.update({name: value.clone() for name, value in self.state_dict().items()})

    def note_file(event, arguments):
        if event == "open" and str(arguments[0]).startswith(exp) and set(str(arguments[1])) & set("wax+"):
            written.add(os.path.basename(arguments[0]))

    sys.addaudithook(note_file)
    with pytest.MonkeyPatch.context() as patch:
        for hook in (training_step, on_train_epoch_start, on_train_end):
            patch.setattr(System, hook.__name__, hook, raising=False)
        fit.train(config.read(conf), f"{data}/train", f"{data}/valid", exp, device="cpu")
    if losses:   # else it was done before the restart
        noted = {"losses": losses, "seeds": seeds, "ends": ends, "weights": weights, "written": sorted(written)}
        torch.save(noted, f"{exp}.{rank}")


def notes(exp):
    """Of both processes."""
    return [torch.load(f"{exp}.{rank}") for rank in (0, 1)]


# Fast equals slow

@pytest.fixture(scope="module")
def still(quick):
    """A network without batch norm and nothing random: here a share of a batch does not depend on the others'."""
    model = {"name": "lstm", "features": 8, "lstm_width": 8, "lstm_dropout": 0.0, "pooling": "mean", "sex_head": True,
             "dimensions": ["arousal", "valence"]}
    fit = replace(quick.fit, max_epochs=4, averaging="ema", plateau_patience=0, sex_weight=0.5, label_smoothing=0.1)
    return replace(quick, model=model, fit=fit)


@pytest.fixture(scope="module")
def uneven(corpus, tmp_path_factory):
    """21 utterances that train and 11 that validate, in classes of different size; some are rated."""
    folder = tmp_path_factory.mktemp("uneven")
    for name, left_out in (("train", ("a-anger0", "a-anger1", "b-anger0")), ("valid", ("d-sadness0",))):
        kept = [u for u in datadir.read(corpus / name) if u.id not in left_out]
        datadir.write(folder / name, [
            replace(u, sex="m" if u.speaker in "ad" else "f", arousal=k % 7 / 6, valence=(k % 5 / 4) if k % 3 else None)
            for k, u in enumerate(kept)
        ])
    return folder


@pytest.fixture(scope="module")
def moving(quick):
    """Batch norm, dropout, noise and averaged weights."""
    fit = replace(quick.fit, max_epochs=5, averaging="ema")
    return replace(quick, fit=fit, augment=AugmentConfig(noise_probability=0.5))


@pytest.fixture(scope="module")
def two(still, moving, uneven, tmp_path_factory):
    """A folder with the experiments `still` and `moving` of two processes, of which one was killed in the latter."""
    folder = tmp_path_factory.mktemp("two")
    config.write(still, folder / "still.yaml")
    config.write(moving, folder / "moving.yaml")
    said = run(*TORCHRUN, __file__, folder, uneven)
    assert "exitcode: -9" in said
    return folder


@pytest.fixture(scope="module")
def by_one(train, still, uneven, tmp_path_factory):
    """The experiment folder, and the loss of each step."""
    exp, losses, step = tmp_path_factory.mktemp("by_one"), [], System.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(System, "training_step", lambda *given: losses.append(step(*given)) or losses[-1])
        train(exp, still, uneven)
    return exp, [loss.item() for loss in losses]


def test_without_batch_norm_and_chance_two_processes_have_the_losses_of_one(by_one, two):
    losses = notes(two / "still")[0]["losses"]
    assert len(losses) == 4 * 3 and np.ptp(losses) > 0.1
    assert losses == pytest.approx(by_one[1], abs=1e-5)
    assert table(two / "still")["train_loss"] == pytest.approx(table(by_one[0])["train_loss"], abs=1e-5)


def test_without_batch_norm_and_chance_two_processes_come_to_the_weights_of_one(by_one, two):
    alone, together = (checkpoint.read(exp) for exp in (by_one[0], two / "still"))
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(together.model.state_dict()[name], value, atol=1e-4, rtol=0)
    assert torch.equal(alone.frontend.mean, together.frontend.mean) and together.card["processes"] == 2


def test_validation_hears_every_utterance_once_whoever_hears_it(by_one, two):
    for name in ("valid_loss", "valid_uar", "valid_war", "valid_ccc", "learning_rate"):
        assert table(two / "still")[name] == pytest.approx(table(by_one[0])[name], abs=1e-5)


def test_the_first_process_alone_writes(two):
    first, second = notes(two / "still")
    assert second["written"] == []
    assert {"config.yaml.part", "epochs.csv.part", "curves.png", "model.safetensors.part"} <= set(first["written"])
    assert len(list((two / "still").glob("tensorboard/events*"))) == 1


# Invariance

def test_a_training_that_lost_a_process_ends_under_torchrun_as_one_that_devices_started(two, uneven, tmp_path):
    said = run("-m", "emotion", "train", "--conf", two / "moving.yaml", "--train", uneven / "train",
               "--valid", uneven / "valid", "--exp", tmp_path, "--device", "cpu", "--devices", "2")
    assert [line.split()[:2] for line in said.splitlines()[2:-1]] == [["epoch", str(k)] for k in range(5)]   # told once
    assert len(notes(two / "moving")[0]["losses"]) == 3 * 3   # of epochs 2, 3 and 4: it went on, it did not begin anew
    for name in ("epoch", "train_loss", "valid_loss", "valid_uar"):
        assert table(two / "moving")[name].tolist() == table(tmp_path)[name].tolist()
    assert checkpoint.read(two / "moving").fingerprint == checkpoint.read(tmp_path).fingerprint


def test_both_processes_end_with_the_same_weights_statistics_and_averages(two):
    first, second = (part["weights"] for part in notes(two / "moving"))
    assert any(name.startswith("average.") for name in first) and any("running_var" in name for name in first)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_no_two_processes_draw_the_same_noise(two):
    first, second = (part["seeds"] for part in notes(two / "moving"))
    assert not set(first) & set(second) and len(set(first)) == 3   # of three epochs


def test_a_process_that_is_told_to_end_does_so_as_after_ctrl_c(two):
    assert all(all(part["ends"]) for part in notes(two / "still"))   # Lightning's own way would wait for the others


# What was started

@pytest.fixture
def environment(monkeypatch):
    """Set variables, and none else of torchrun's and Slurm's."""
    def give(**variables):
        for name in os.environ:
            if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("MASTER_ADDR", "NODE_RANK", "LOCAL_RANK"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
    return give


STARTED = {
    "torchrun": {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": 4, "GROUP_WORLD_SIZE": 2, "WORLD_SIZE": 8, "RANK": 4,
                 "LOCAL_RANK": 0, "GROUP_RANK": 1},
    "srun": {"SLURM_NTASKS": 8, "SLURM_STEP_NUM_TASKS": 8, "SLURM_STEP_NUM_NODES": 2, "SLURM_NTASKS_PER_NODE": 4,
             "SLURM_PROCID": 4, "SLURM_LOCALID": 0, "SLURM_NODEID": 1},
}


@pytest.mark.parametrize("starter", STARTED)
def test_who_started_the_processes_says_how_many_there_are(environment, starter):
    environment(**STARTED[starter])
    found = processes_of()
    assert (found.devices, found.nodes, found.count, found.is_first) == (4, 2, 8, False)
    assert processes_of(devices=4, nodes=2).count == 8
    for given in ({"devices": 2}, {"nodes": 1}):
        with pytest.raises(ValueError, match="were started.* Leave --(devices|nodes) out"):
            processes_of(**given)


@pytest.mark.parametrize("variables", [{}, {"SLURM_NTASKS": 4, "SLURM_JOB_ID": 7}, {"LOCAL_RANK": 3}])
def test_a_process_that_nobody_multiplied_is_alone(environment, variables):
    environment(**variables)
    assert processes_of().count == 1 and processes_of().is_first


def test_one_process_alone_talks_to_itself():
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert torch.equal(distributed.total(value), value) and not distributed.total(value).requires_grad
    assert distributed.gather("x") == ["x"] and distributed.once(lambda: "x") == "x"


# Refusal

def test_several_machines_that_do_not_know_each_other_are_refused(environment):
    environment()
    with pytest.raises(ValueError, match="torchrun --nnodes 2"):
        processes_of(nodes=2)
    environment(MASTER_ADDR="first", NODE_RANK=1)
    assert not processes_of(nodes=2).is_first


def test_tasks_that_srun_spread_as_it_liked_are_refused(environment):
    environment(**{**STARTED["srun"], "SLURM_NTASKS_PER_NODE": ""})
    with pytest.raises(ValueError, match="Give --nodes and --ntasks-per-node"):
        processes_of()


def test_restarts_that_would_hang_are_refused(environment):
    environment(**STARTED["torchrun"], TORCHELASTIC_MAX_RESTARTS=1, TORCHELASTIC_USE_AGENT_STORE="True")
    with pytest.raises(ValueError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun"):
        processes_of()
    environment(**STARTED["torchrun"], TORCHELASTIC_MAX_RESTARTS=1, TORCHELASTIC_USE_AGENT_STORE="False")
    assert processes_of().count == 8


@pytest.mark.parametrize("device, devices, remedy", [
    ("cuda:1", 2, "Choose cuda or cpu"), ("cuda", 3, "devices=3, and 2 can be seen.*Ask for as many as there are"),
])
def test_devices_that_are_not_there_are_refused(
    quick, corpus, tmp_path, environment, monkeypatch, device, devices, remedy,
):
    environment()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=remedy):
        fit.train(quick, corpus / "train", corpus / "valid", tmp_path, device=device, devices=devices)


def test_numbers_of_devices_below_one_are_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--devices", "0"])
    assert "--devices: '0' must be a whole number of at least 1" in capsys.readouterr().err


if __name__ == "__main__":
    folder, data = sys.argv[1:]
    torch.set_num_threads(1)
    one_of_two(f"{folder}/still.yaml", data, f"{folder}/still")
    one_of_two(f"{folder}/moving.yaml", data, f"{folder}/moving", dies=True)
