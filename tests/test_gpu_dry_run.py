"""The steps that wait for a GPU, all of them, at tiny sizes on this machine's CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ibbook.book import results
from ibbook.book.chapters import find
from ibbook.book.parameters import parameters
from ibbook.networks import conv, mlp
from tests.gpu import __main__ as entry
from tests.gpu.speed import work
from tests.gpu.steps import STEPS, Run, StandIn, Step, read

FIELDS = {
    "machine": {"about", "ceilings", "units"},
    "correctness": {"tests", "counts"},
    "speed-training": {"mlp", "conv", "formula"},
    "profile": {"captured", "kernels", "formula"},
    "speed-sprites": {"render", "training", "formula"},
    "speed-solvers": {"rate_distortion", "bottleneck"},
    "speed-metrics": {"members", "points", "metrics", "formula"},
    "results-1": {"seed", "steps", "step_seconds", "curves", "kept", "all_steps", "diverged"},
    "results-2": {"seed", "steps", "step_seconds", "curves", "kept", "all_steps", "diverged"},
}


@pytest.fixture(scope="module")
def dry(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a dry run, and what it printed."""
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-m", "tests.gpu", "--dry", "--seed", "3", "--out", str(folder)]
    done = subprocess.run(
        command,
        cwd=entry.ROOT,
        env=os.environ | {"IBBOOK_GPU_DEVICE": "cpu", "OUT": str(folder / "sent")},
        capture_output=True,
        text=True,
    )
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return folder, done.stdout


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_runs_and_says_what_it_found(dry, step):
    folder, printed = dry
    said = read(folder / f"{step.name}.json")
    assert said["status"] == "passed"
    assert said["dry"] is True
    assert said["device"] == "cpu"
    assert said["seconds"] > 0
    assert said["results"].keys() >= FIELDS[step.name]
    assert entry.line(said) in printed
    assert (folder / f"{step.name}.log").exists()


def test_all_that_was_written_lies_in_one_file(dry):
    with zipfile.ZipFile(dry[0] / "sent" / "gpu.zip") as archive:
        names = set(archive.namelist())
    assert {f"{step.name}{end}" for step in STEPS for end in (".json", ".log")} <= names
    assert "kept/05-beta-vae-gpu-beta-4-seed-3.json" in names
    assert [path.name for path in (dry[0] / "sent").iterdir()] == ["gpu.zip"]
    assert not list(dry[0].rglob("*.part"))


def test_the_dry_run_does_without_what_a_bare_machine_lacks(dry):
    missing = read(dry[0] / "machine.json")["results"]["about"]["missing"]
    assert {"lightgbm", "platformdirs"} <= set(missing)


def test_a_package_that_is_stood_in_for_fails_when_it_is_used():
    spec = StandIn().find_spec("lightgbm")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ImportError, match="lightgbm is not installed on this machine"):
        module.LGBMClassifier(n_estimators=3)


def test_every_number_of_speed_has_its_floor(dry):
    said = [read(dry[0] / f"speed-{name}.json")["results"] for name in ("training", "sprites")]
    found = [one for kind in ("mlp", "conv") for one in said[0][kind].values()]
    found = [one for one in found if isinstance(one, dict)] + [*said[1]["training"].values()]
    profile = read(dry[0] / "profile.json")["results"]
    found += profile["captured"].values()
    assert len(found) == 4 + 5 + 1 + 2
    for kernels in profile["kernels"].values():
        assert 0.5 < sum(kernel["share"] for kernel in kernels) <= 1
        assert kernels[0]["microseconds"] == max(kernel["microseconds"] for kernel in kernels) > 0
    for one in found:
        assert one["step_seconds"] > 0
        assert one["floor_seconds"] > 0
        assert one["share_of_bfloat16"] > 0


def test_what_was_trained_is_read_as_kept_runs(dry, monkeypatch):
    monkeypatch.setattr(results, "results_folder", lambda: dry[0] / "kept")
    of_chapters = {
        "05-beta-vae": "betavae.{}",
        "07-lambda-beta-vae": "lambdabeta.{}_beta_8_lambda_4",
    }
    for chapter, name in of_chapters.items():
        table = results.recorded(f"{chapter}-gpu-*")
        assert set(table.chapter) == {chapter}
        assert set(table.look_at) == {1, 4, 8, 16}
        assert set(table.first_seed) == {3, 4}
        assert set(table.steps) == {60}
        assert table.value.notna().all()
        assert {name.format(kind) for kind in ("rate", "mig_means", "error")} <= set(table.name)
        declared = parameters(find(chapter))
        assert set(table.columns) & {"betas", "further", "penalties", "pictures"} <= set(declared)
    committed = json.loads((entry.ROOT / "data/results/05-beta-vae-sprites.json").read_text())
    kept = json.loads((dry[0] / "kept/05-beta-vae-gpu-beta-4-seed-3.json").read_text())
    assert kept.keys() == committed.keys()


def test_a_step_that_ends_badly_is_reported_and_the_others_run(tmp_path, monkeypatch, capsys):
    names = ["fails", "lacks", "mistyped", "dies", "passes", "sleeps", "passes"]
    steps = [
        Step(f"{k}-{name}", f"tests.gpu.bad_steps:{name}", 600.0, least=0.0)
        for k, name in enumerate(names)
    ]
    steps.append(Step("late", "tests.gpu.bad_steps:passes", 600.0, least=1e6))
    monkeypatch.setattr(entry, "STEPS", steps)

    def hasty(step, folder, seconds, asked, real=entry.run):
        return real(step, folder, 3.0 if step.name == "5-sleeps" else seconds, asked)

    monkeypatch.setattr(entry, "run", hasty)
    monkeypatch.setenv("IBBOOK_GPU_DEVICE", "cpu")
    monkeypatch.delenv("OUT", raising=False)
    assert entry.main(["--dry", "--out", str(tmp_path)]) == 1
    said = [read(tmp_path / f"{step.name}.json") for step in steps]
    assert [one["status"] for one in said] == [
        "failed", "skipped", "failed", "failed", "passed", "timed out", "passed", "not run",
    ]  # fmt: skip
    assert said[0]["why"] == "ValueError: steps must be positive, got 0"
    assert said[0]["results"] == said[5]["results"] == {"found": 1}  # what it knew by then
    assert "Traceback" in (tmp_path / "0-fails.log").read_text()
    printed = capsys.readouterr().out
    assert "No module named 'no_such_package'" in printed
    assert "status -6" in printed
    assert "all is well" in printed


def test_without_a_gpu_the_full_sizes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("IBBOOK_GPU_DEVICE", "cpu")
    with pytest.raises(ValueError, match="device is 'cpu': no GPU was found; add --dry"):
        Run("machine", tmp_path, 60.0).save({})


@pytest.mark.parametrize(
    "network",
    [mlp((1, 8, 8), latents=3, hidden=(16, 8)), conv((1, 16, 16), latents=3, channels=(4, 8))],
    ids=["mlp", "conv"],
)
def test_operations_are_those_that_torch_counts(network):
    model, x = network.build(torch.arange(2)), torch.zeros(2, 5, *network.picture)
    with FlopCounterMode(display=False) as counter:
        model.decode(model.encode(x)[0])
    assert work(network, 2, 5)[0] == 3 * counter.get_total_flops()
