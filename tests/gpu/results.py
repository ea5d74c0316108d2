"""Chapter 5's full profile, and what chapter 7 asks of it: some members at a time.

A part is one seed with every beta of `BETAS` and every lambda of `LAMBDAS`, so that steps are
compiled once and the small steps of a few members share a launch. It is measured as it starts, and
takes the profile's steps where they fit the time that is left, else as many as do: members of
fewer steps are the same members, stopped earlier. Each member leaves one file in `kept/`, in the
form of a kept run, for data/results.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ibbook._origin import seal
from ibbook.datasets import Dataset, load
from ibbook.metrics import active_units, i_m, mig, rate, sap
from ibbook.networks import conv
from ibbook.objective import Objective
from ibbook.training import Ensemble, Optimiser, fit, grid
from ibbook.training.checkpoint import describe, file_name
from tests.gpu.steps import Run, write

BETAS, LAMBDAS = (1.0, 4.0, 8.0, 16.0), (0.0, 4.0)
CHAPTERS = {0.0: "05-beta-vae", 4.0: "07-lambda-beta-vae"}
PREFIXES = {0.0: "betavae", 4.0: "lambdabeta"}
# chapters/profiles/full/05-beta-vae.yaml; the dry run has other sizes
FULL = {"size": 64, "latents": 10, "steps": 300_000, "batch_size": 64, "learning_rate": 1e-4}
DRY = FULL | {"size": 16, "steps": 60, "batch_size": 8}
SCORING = 30.0  # seconds, to encode and to score what was trained


def first(run: Run) -> None:
    part(run, run.seed)


def second(run: Run) -> None:
    part(run, run.seed + 1)


def part(run: Run, seed: int) -> None:
    """Train the members of one seed for as many steps as fit, score them and keep the numbers."""
    profile = DRY if run.dry else FULL
    probe = profile["steps"] // 30  # long enough that `fit` compiles them on a GPU
    size = profile["size"]
    data = load("dsprites", size=size)
    network = conv(
        (1, size, size),
        latents=profile["latents"],
        channels=(8, 8) if run.dry else (32, 32, 64, 64),
        hidden=32 if run.dry else 256,
    )
    members = grid(beta=BETAS, l2=LAMBDAS, seed=[seed])
    optimiser = Optimiser(profile["learning_rate"])
    options: dict[str, Any] = {
        "batch_size": profile["batch_size"],
        "log_every": probe,
        "optimiser": optimiser,
        "device": run.device,
        "checkpoint": run.folder / "checkpoints",
    }
    shutil.rmtree(options["checkpoint"], ignore_errors=True)  # of an earlier run, perhaps further
    start = time.monotonic()
    begun = fit(network, Objective(), data, members, steps=probe, **options)
    each = float(begun.final["seconds"].max()) / probe
    prepared = time.monotonic() - start - each * probe  # with compiling, which comes once more
    left = run.left - prepared - SCORING
    steps = max(probe, min(profile["steps"], probe + int(0.9 * left / each) // probe * probe))
    results = {"seed": seed, "step_seconds": each, "prepared_seconds": prepared, "steps": steps}
    results |= {"profile": profile, "all_steps": steps == profile["steps"]}
    run.save(results, f"{len(members)} members, {1e3 * each:.2f} ms a step")

    trained = fit(network, Objective(), data, members, steps=steps, **options)
    spent = time.monotonic() - start
    results["curves"] = trained.history.drop(columns="member").round(4).to_dict("list")
    results["diverged"] = trained.diverged
    run.save(results, f"{len(members)} members trained {steps} steps; not scored")

    described = describe(
        network,
        Objective(),
        data,
        trained.members,
        optimiser,
        profile["batch_size"],
        run.device,
        probe,
    )
    about = {
        "key": file_name(described).removesuffix(".safetensors"),
        "seconds": round(spent, 1),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_origin(run),
    }
    kept = run.folder / "kept"
    kept.mkdir(exist_ok=True)
    for number, records in _scores(trained, data, 500 if run.dry else 10_000).items():
        beta, l2 = members[number]["beta"], members[number]["l2"]
        parameters = {
            **profile,
            "steps": steps,
            "betas": f"{beta:g}",
            "look_at": beta,
            "seeds": 1,
            "first_seed": seed,
            "warm_up": 0,
            **_own(l2),
        }
        ending = f"_beta_{beta:g}_lambda_{l2:g}" if l2 else ""
        records = [row | {"name": f"{PREFIXES[l2]}.{row['name']}{ending}"} for row in records]
        name = f"{CHAPTERS[l2]}-gpu-beta-{beta:g}-seed-{seed}.json"
        kept_run = {"chapter": CHAPTERS[l2], **about, "parameters": parameters, "records": records}
        write(kept / name, kept_run | {"seal": seal(kept_run)})
        results.setdefault("kept", {})[name] = records
    fitting = "all" if results["all_steps"] else f"of {profile['steps']}"
    run.save(
        results, f"seed {seed}: {len(members)} members, {steps} steps ({fitting}), {spent:.0f} s"
    )


def _own(l2: float) -> dict[str, Any]:
    """What chapter 5, or with a penalty chapter 7, calls its other parameters.

    The penalty is there from the first step on, not in further steps as in the papers.
    """
    if not l2:
        return {"every_sprite": True}
    return {"pictures": "dsprites", "penalties": f"0 {l2:g}", "more_betas": "", "further": 0}


def _scores(trained: Ensemble, data: Dataset, points: int) -> dict[int, list[dict[str, Any]]]:
    """What chapter 5 records of a beta, for each member that did not diverge."""
    alive = [m for m in range(len(trained.members)) if m not in trained.diverged]
    if not alive:
        raise AssertionError(f"every member diverged: {trained.diverged}")
    test = data.sample(points)
    measured = trained.evaluate(test, samples=8, members=alive)
    mean, log_variance = trained.encode(test.images[:] / test.scale, alive)
    # as the chapter draws them: about 16,384 points, from a generator of the CPU
    copies = max(1, 16384 // points)
    means, deviations = (t.cpu().repeat(1, copies, 1) for t in (mean, (log_variance / 2).exp()))
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(0))
    sample = (means + deviations * noise).to(mean.device)
    factors = test.factors[:, (test.factors != test.factors[0]).any(0)].to(mean.device)
    repeated = factors.repeat(copies, 1)
    columns = {
        "rate": ("nats", measured["rate"]),
        "distortion": ("nats", measured["distortion"]),
        "error": ("", measured["error"]),
        "mig_means": ("", mig(mean, factors)),
        "mig_samples": ("", mig(sample, repeated)),
        "sap_means": ("", sap(mean, factors)),
        "sap_samples": ("", sap(sample, repeated)),
        "i_m_means": ("nats", i_m(mean, factors, estimator="histogram")),
        "i_m_samples": ("nats", i_m(sample, repeated, estimator="histogram")),
        "active_units": ("", active_units(mean)),
        "speaking": ("", (rate(mean, log_variance) > 0.02).sum(-1)),
    }
    values = {name: [float(v) for v in column] for name, (_, column) in columns.items()}
    return {
        member: [
            {"name": name, "value": round(values[name][k], 4), "unit": unit}
            for name, (unit, _) in columns.items()
        ]
        for k, member in enumerate(alive)
    }


def _origin(run: Run) -> dict[str, Any]:
    """Commit, versions and machine, as `ibbook run` states them, and the card's name.

    A machine without the repository's history is told the commit by `$IBBOOK_COMMIT`.
    """
    gpu = [torch.cuda.get_device_name()] if run.device.startswith("cuda") else []
    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores", *gpu]
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": os.environ.get("IBBOOK_COMMIT") or _git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "ibbook": _version("ibbook"),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "platform": ", ".join(parts),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str | None:
    """What git answers, or None where there is no git or no repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
