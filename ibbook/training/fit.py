"""The loop: every member a stretch of steps further, until all have taken theirs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ibbook._device import chosen
from ibbook._numbers import integer, number
from ibbook._paths import expanded
from ibbook._threads import flushed, workers
from ibbook.datasets import Dataset
from ibbook.networks import Network
from ibbook.objective import Objective
from ibbook.training.checkpoint import describe, file_name
from ibbook.training.checks import check_fit, check_frozen
from ibbook.training.ensemble import Ensemble
from ibbook.training.members import Member, check_member
from ibbook.training.optimiser import Optimiser
from ibbook.training.share import Share
from ibbook.training.state import State

SMALL = 1 << 27  # work, weights times pictures of a step, that one thread does fastest for a member


def fit(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: Sequence[Member],
    *,
    steps: int,
    batch_size: int,
    optimiser: Optimiser | None = None,
    start: Ensemble | None = None,
    frozen: Sequence[str] = (),
    device: torch.device | str | None = None,
    log_every: int | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 180.0,
) -> Ensemble:
    """Train every member at once, and return their curves and weights.

    A member is a dict with any of beta, l2, seed and learning_rate. Each sees the data in its own
    random order, epoch by epoch, without the last incomplete batch. A GPU trains all members in one
    step, compiled in long runs (TORCH_COMPILE_DISABLE=1 keeps it plain); the threads of a CPU share
    them out.

    `start` is an ensemble of the same network and as many members: each goes on from the weights of
    its own there, with a fresh optimiser and its steps counted from 0. `frozen` names parts of the
    model whose weights stay as they begin: "decoder", or "above.encoder" of a network with layers.

    A member whose loss is no longer finite stops there: it is named in `Ensemble.diverged`, its
    weights become NaN, so that nothing is read off them by mistake, and the others go on.
    `checkpoint` is a folder: a file of this run is written there every `checkpoint_seconds`, named
    by a hash of all that the run depends on but `steps` (the package's source, torch, the device
    and the pictures too), and a run that finds its own file says so and goes on from it.

    >>> from ibbook.datasets import load
    >>> from ibbook.networks import mlp
    >>> from ibbook.training import grid
    >>> net = mlp((1, 8, 8), latents=2, hidden=(16,))
    >>> ensemble = fit(net, Objective(), load("digits"), grid(beta=[1, 4], seed=range(2)),
    ...                steps=4, batch_size=32)
    >>> ensemble.final[["beta", "seed", "step"]].values.tolist()
    [[1, 0, 4], [1, 1, 4], [4, 0, 4], [4, 1, 4]]
    """
    members = [check_member(m, i) for i, m in enumerate(members)]
    steps, batch_size = integer(steps, "steps", 1), integer(batch_size, "batch_size", 1, len(data))
    seconds = number(checkpoint_seconds, "checkpoint_seconds")
    check_fit(network, objective, data, members)
    optimiser = optimiser or Optimiser()
    device = chosen(device)
    own = None if log_every is None else integer(log_every, "log_every", 1)
    log_every = own or max(1, steps // 100)
    seeds = torch.tensor([m["seed"] for m in members], device=device)
    model = network.build(seeds)
    check_frozen(frozen, model)
    begun_at = None if start is None else start.models.state_dict()
    if begun_at is not None:
        if (start.network, len(start.members)) != (network, len(members)):
            raise ValueError(
                f"start must be {len(members)} members of the same network, got "
                f"{len(start.members)} of {start.network}; `Ensemble.select` chooses members"
            )
        model.load_state_dict(begun_at)
    state = State(model, optimiser, members)
    path, run = None, {}
    if checkpoint is not None:
        run = describe(
            network,
            objective,
            data,
            members,
            optimiser,
            batch_size,
            device,
            own,
            begun_at,
            frozen,
        )
        path = expanded(checkpoint) / file_name(run)
        if path.exists():
            state.restore(path, run, steps)
            print(f"resumed at step {state.step}")

    parts = _parts(len(members), device)
    shares = [Share(state, part, objective, data, batch_size, frozen) for part in parts]
    size = sum(w[0].numel() for w in state.weights)
    bar = tqdm(initial=state.step, total=steps, disable=None)
    threads = torch.get_num_threads() // len(shares) if size * batch_size > SMALL else 1
    with bar, flushed(), workers(len(shares), threads) as each:
        if state.step < steps:
            for share in shares:
                share.fuse(state.step, steps)
        begun, saved = time.monotonic() - state.seconds, time.monotonic()
        while state.step < steps:
            stretch = range(state.step, min(steps, *(s.feed.end(state.step) for s in shares)))
            values = torch.cat([*each(Share.train, shares, itertools.repeat(stretch))], 1)
            state.step, state.seconds = stretch.stop, time.monotonic() - begun
            ends = (s + 1 for s in stretch)
            state.look(values, due=[s for s in ends if s % log_every == 0 or s == steps])
            bar.update(len(stretch))
            if state.rows and not bar.disable:
                rate, distortion = (state.rows[-1][k] for k in ("rate", "distortion"))
                bar.set_postfix(rate=f"{rate:.2f}", distortion=f"{distortion:.2f}")
            if path is not None and time.monotonic() - saved >= seconds:
                state.save(path, run)
                saved = time.monotonic()
    if path is not None:
        state.save(path, run)
    return Ensemble(network, objective, members, state.result(), state.rows, state.diverged)


def _parts(members: int, device: torch.device) -> list[slice]:
    """Neighbours for each thread of a CPU; a GPU takes all members at once."""
    count = min(members, torch.get_num_threads()) if device.type == "cpu" else 1
    ends = [members * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]
