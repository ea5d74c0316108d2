from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from ibbook import _origin
from ibbook.datasets import Dataset, load
from ibbook.objective import Objective
from ibbook.training import Ensemble, Optimiser, checkpoint, fit
from ibbook.training.members import check_member
from tests.training.small_networks import SMALL, assert_same, weights

RUN = """
import os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv.pop()))
from ibbook.training import Optimiser, fit, share
from ibbook.datasets import load
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.schedules import linear
network = mlp((1, 8, 8), latents=3, hidden=(16,))
members = [dict(seed=0), dict(seed=1, beta=linear(0, 4, 300)), dict(seed=2, learning_rate=1e6)]
where, out, halt = map(str, sys.argv[1:])
if halt == "step":
    inner, calls = share.terms, []
    def terms(*args):
        calls.append(1)
        if len(calls) == 217:
            print("ready", flush=True); time.sleep(60)
        return inner(*args)
    share.terms = terms
if halt == "write":
    inner, calls = os.replace, []
    def replace(a, b):
        calls.append(1)
        if len(calls) == 6:
            print("ready", flush=True); time.sleep(60)
        inner(a, b)
    os.replace = replace
ensemble = fit(network, Objective(), load("digits"), members, steps=300, batch_size=16,
    log_every=37, optimiser=Optimiser(average=0.99), checkpoint=where,
    checkpoint_seconds=0)
ensemble.save(out)
"""


@pytest.mark.parametrize(("halt", "threads"), [("step", 1), ("step", 2), ("write", 2)])
def test_a_run_killed_in_a_step_or_a_write_ends_bit_for_bit_like_one_that_was_not(
    tmp_path, halt, threads
):
    def start(name, halt):
        paths = [str(tmp_path / f"{name}.checkpoint"), str(tmp_path / f"{name}.ensemble")]
        call = [sys.executable, "-c", RUN, *paths, halt, str(threads)]
        return subprocess.Popen(call, stdout=subprocess.PIPE)

    with start("killed", halt) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.ensemble").exists()
    for name in ("killed", "whole"):
        with start(name, "no") as process:
            said = process.stdout.read()
        assert said.startswith(b"resumed at step ") == (name == "killed")
        assert process.returncode == 0
    killed, whole = (Ensemble.load(tmp_path / f"{n}.ensemble") for n in ("killed", "whole"))
    for one, other in zip(killed.models.parameters(), whole.models.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    assert killed.diverged == whole.diverged
    assert killed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


def test_a_folder_of_checkpoints_keeps_each_run_apart_and_takes_up_its_own(digits, tmp_path):
    options = {"batch_size": 16, "log_every": 5}
    half, other = digits.split(0.5, 0.5)[0], digits.split(0.5, 0.5, seed=1)[0]
    calls = [
        (Objective(), half, [{}]),
        (Objective(beta=2.0), half, [{}]),
        (Objective(anchors={2: 0.5}), half, [{}]),
        (Objective(), half, [{"seed": 1}]),
        (Objective(), other, [{}]),
    ]
    for count, call in enumerate(calls, 1):
        first = fit(SMALL, *call, steps=5, checkpoint=tmp_path, **options)
        assert_same(weights(first), weights(fit(SMALL, *call, steps=5, **options)), rtol=0, atol=0)
        assert len(list(tmp_path.iterdir())) == count
    for call in calls:
        longer = fit(SMALL, *call, steps=10, checkpoint=tmp_path, **options)
        whole = fit(SMALL, *call, steps=10, **options)
        assert_same(weights(longer), weights(whole), rtol=0, atol=0)
        assert longer.history["seconds"].iloc[0] != whole.history["seconds"].iloc[0]
    assert len(list(tmp_path.iterdir())) == len(calls)
    with pytest.raises(ValueError, match=r"is at step 10, beyond steps=5; name another folder"):
        fit(SMALL, *calls[0], steps=5, checkpoint=tmp_path, **options)


def test_a_checkpoint_is_named_by_the_hash_of_the_run_in_its_header(digits, tmp_path):
    objective = Objective(anchors={2: 0.5, 0: 0.1})
    fit(SMALL, objective, digits, [{}], steps=1, batch_size=16, checkpoint=tmp_path)
    (path,) = tmp_path.iterdir()
    with safetensors.safe_open(path, "pt") as file:
        run = json.loads(file.metadata()["ibbook"])["run"]
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    assert path.name == f"{digest[:16]}.safetensors"


def test_a_file_of_another_format_is_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "alien")
    with pytest.raises(ValueError, match="format None, this version reads 1"):
        Ensemble.load(tmp_path / "alien")


def test_more_steps_go_on_from_fewer_whatever_the_default_of_logging_is(digits, tmp_path, capsys):
    options = {"batch_size": 16, "checkpoint": tmp_path}
    fit(SMALL, Objective(), digits, [{}], steps=200, **options)
    longer = fit(SMALL, Objective(), digits, [{}], steps=300, **options)
    assert "resumed at step 200" in capsys.readouterr().out
    whole = fit(SMALL, Objective(), digits, [{}], steps=300, batch_size=16)
    assert_same(weights(longer), weights(whole), rtol=0, atol=0)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_stands_for_everything_that_the_weights_depend_on(digits, tmp_path, monkeypatch):
    def begun(data=digits, network=SMALL, **options) -> int:
        options = {"steps": 1, "batch_size": 16, "checkpoint": tmp_path} | options
        fit(network, Objective(), data, [{}], **options)
        return len(list(tmp_path.iterdir()))

    assert begun() == begun() == 1
    pictures = digits.images[:].clone()
    pictures[1001, 0, 4, 4] = 16 - pictures[1001, 0, 4, 4]  # one pixel of one picture
    altered = Dataset.from_arrays(pictures, labels=digits.labels, name=digits.name, scale=16)
    assert begun(replace(altered, source=digits.source)) == 2
    assert begun(replace(digits, scale=digits.scale + 1)) == 3
    assert begun(replace(digits, labels=digits.labels.flip(0))) == 4
    assert begun(batch_size=8) == 5
    assert begun(optimiser=Optimiser(learning_rate=0.1)) == 6
    assert begun(network=replace(SMALL, centred=True)) == 7
    assert begun(start=fit(SMALL, Objective(), digits, [{}], steps=1, batch_size=8)) == 8
    assert begun(frozen=["decoder"]) == 9
    monkeypatch.setattr(checkpoint, "SOURCE", "of another commit")
    assert begun() == 10
    monkeypatch.setattr(torch, "__version__", "99")
    assert begun() == 11
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another card")
    run = (SMALL, Objective(), digits, [check_member({}, 0)], Optimiser(), 16)
    names = {checkpoint.file_name(checkpoint.describe(*run, device)) for device in ("cpu", "cuda")}
    assert len(names) == 2


def test_weights_are_on_the_disk_before_their_file_has_its_name(tmp_path, monkeypatch):
    named = []
    monkeypatch.setattr(os, "fsync", lambda _: named.append((tmp_path / "a").exists()))
    checkpoint.write(tmp_path / "a", {"w": torch.zeros(1)}, {})
    assert named == [False]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_picture_of_a_large_set_counts_unless_the_package_draws_it(monkeypatch):
    monkeypatch.setattr(checkpoint, "READ", 0)
    pictures = torch.zeros(3 * checkpoint.CHUNK, 1, 1, dtype=torch.uint8)
    first = checkpoint._fingerprint(Dataset.from_arrays(pictures))
    pictures[checkpoint.CHUNK + 1] = 1
    data = Dataset.from_arrays(pictures)
    assert checkpoint._fingerprint(data) != first
    assert not data.select([0]).images.drawn
    assert load("dsprites").sample(9).images.drawn
    assert not Dataset.from_codes(torch.zeros(2, 2)).images.drawn


def test_an_ensemble_that_was_changed_by_hand_or_by_a_bad_disk_is_named(digits, tmp_path):
    path = tmp_path / "a"
    fit(SMALL, Objective(), digits, [{}], steps=1, batch_size=16).save(path)
    whole = path.read_bytes()
    for place in (whole.index(b"seed") + 8, len(whole) - 5):  # of the header, of the weights
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"was changed after it was written|is damaged"):
            Ensemble.load(path)


def test_the_source_of_a_checkpoint_is_that_of_all_that_computes(tmp_path, monkeypatch):
    top = tmp_path / "package"
    (top / "training").mkdir(parents=True)
    (top / "book").mkdir()
    trainer, site = top / "training" / "fit.py", top / "book" / "site.py"
    trainer.write_text("rate = 1")
    site.write_text("x")
    first = _origin.digest(top, ["book"])
    site.write_text("y")
    assert _origin.digest(top, ["book"]) == first
    trainer.write_text("rate = 10")
    assert _origin.digest(top, ["book"]) != first
    assert _origin.digest(_origin.PACKAGE, ["book"]) == checkpoint.SOURCE


def test_a_checkpoint_that_was_cut_or_holds_another_run_is_named(digits, tmp_path):
    options = {"batch_size": 16, "checkpoint": tmp_path}
    fit(SMALL, Objective(), digits, [{}], steps=1, **options)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    fit(SMALL, Objective(beta=2.0), digits, [{}], steps=1, **options)
    (other,) = set(tmp_path.iterdir()) - {path}
    for content in (whole[:-9], whole[:3], b"", whole.replace(b"{", b"[", 1)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} is damaged or cut short"):
            fit(SMALL, Objective(), digits, [{}], steps=2, **options)
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 64]) + whole[-4:])
    with pytest.raises(ValueError, match=f"{path.name} was changed after it was written"):
        fit(SMALL, Objective(), digits, [{}], steps=2, **options)
    other.rename(path)
    with pytest.raises(ValueError, match=f"{path.name} is that of another run"):
        fit(SMALL, Objective(), digits, [{}], steps=2, **options)
