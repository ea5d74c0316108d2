from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import distributions as D
from torch._dynamo.backends.debugging import aot_eager

from ibbook._threads import threads
from ibbook.datasets import Dataset, load
from ibbook.networks import Convolutions, conv, mlp
from ibbook.noise import normal
from ibbook.objective import Objective
from ibbook.schedules import Schedule, cyclical, linear
from ibbook.training import Optimiser, Runs, fit, grid, terms
from ibbook.training import ensemble as training

SMALL = mlp((1, 8, 8), latents=3, hidden=(16,))
VIB = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=(), outputs=10)
LABELS = Objective(output="categorical", target="labels")
CASES = {
    "vae": (SMALL, Objective()),
    "vib": (VIB, LABELS),
    "convolutional": (conv((1, 8, 8), latents=2, channels=(4, 8), hidden=16), Objective(l2=0.1)),
    "categorical": (mlp((1, 8, 8), latents=4, hidden=(16,), latent="categorical"), Objective()),
    "point": (mlp((1, 8, 8), latents=4, hidden=(16,), latent="point"), Objective()),
}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def weights(runs, member=0):
    return {k: v[member] for k, v in runs.models.state_dict().items()}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance)


MEMBERS = [
    {"beta": b, "seed": s, "learning_rate": r}
    for b in (0.1, 1.0, 4.0, linear(0, 4, 50))
    for s, r in ((0, 1e-3), (1, 1e-3), (1, 3e-3), (2, 1e-2))
]


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_a_member_alone_equals_the_same_member_among_sixteen(digits, network, objective):
    options = {"steps": 100, "batch_size": 16, "log_every": 50}
    together = fit(network, objective, digits, MEMBERS, **options)
    for i in (0, 6, 15):
        alone = fit(network, objective, digits, [MEMBERS[i]], **options)
        assert_same(weights(together, i), weights(alone), atol=1e-5, rtol=1e-5)
        rows = together.history.query("member == @i")
        np.testing.assert_allclose(rows["loss"], alone.history["loss"], rtol=1e-5)


def test_the_order_of_members_does_not_matter(digits):
    options = {"steps": 30, "batch_size": 16}
    forward = fit(SMALL, Objective(), digits, MEMBERS, **options)
    backward = fit(SMALL, Objective(), digits, MEMBERS[::-1], **options)
    for i in range(16):
        assert_same(weights(forward, i), weights(backward, 15 - i), atol=1e-6, rtol=1e-6)


def test_threads_share_the_members_and_do_not_change_them(digits, tmp_path):
    options = {"batch_size": 16, "log_every": 7, "checkpoint": tmp_path}
    wild = [*MEMBERS[:4], {"seed": 1, "learning_rate": 1e30}]
    try:
        torch.set_num_threads(3)
        fit(SMALL, Objective(), digits, wild, steps=42, **options)
        assert torch.get_num_threads() == 3
        torch.set_num_threads(2)
        shared = fit(SMALL, Objective(), digits, wild, steps=63, **options)
    finally:
        torch.set_num_threads(1)
    assert len(list(tmp_path.iterdir())) == 1
    options.pop("checkpoint")
    alone = fit(SMALL, Objective(), digits, wild, steps=63, **options)
    for i in range(4):
        assert_same(weights(shared, i), weights(alone, i), atol=1e-5, rtol=1e-5)
    assert shared.diverged.keys() == alone.diverged.keys() == {4}
    columns = ["member", "step", "loss", "rate"]
    np.testing.assert_allclose(shared.history[columns], alone.history[columns], rtol=1e-5)


def test_a_mistake_in_one_thread_is_raised_and_the_threads_are_given_back(digits, monkeypatch):
    def broken(*args):
        raise ArithmeticError("a mistake")

    monkeypatch.setattr(training, "terms", broken)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ArithmeticError, match="a mistake"):
            fit(SMALL, Objective(), digits, MEMBERS, steps=5, batch_size=16)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def plain_loss(model, x, target, noise, beta, l2, output):
    """The objective of one member, written with torch.distributions and no member axis."""
    mean, log_variance = (c[0] for c in model.encode(x[None]))
    q = D.Normal(mean, (log_variance / 2).exp())
    decoded = model.decode((q.loc + q.scale * noise)[None])[0]
    rate = D.kl_divergence(q, D.Normal(torch.zeros(()), torch.ones(()))) @ torch.tensor(beta)
    if output == "categorical":
        return (-D.Categorical(logits=decoded).log_prob(target) + rate).mean()
    if output == "bernoulli":
        distortion = -D.Bernoulli(logits=decoded, validate_args=False).log_prob(target).sum(1)
        decoded = decoded.sigmoid()
    else:
        distortion = -D.Normal(decoded, 0.5**0.5).log_prob(target).sum(1)
    return (distortion + rate + l2 * (decoded - target).square().sum(1)).mean()


@pytest.mark.parametrize("output", ["bernoulli", "gaussian", "categorical"])
def test_loss_and_gradient_equal_an_unbatched_reference(output):
    network, target = (VIB, "labels") if output == "categorical" else (SMALL, "images")
    objective = Objective(output=output, target=target, variance=0.5)
    seeds, beta = torch.tensor([4, 9]), [0.5, 2.0, 0.0]
    l2 = 0.0 if output == "categorical" else 0.3
    model = network.build(seeds)
    x, noise = torch.rand(2, 6, 1, 8, 8), normal(seeds, range(1), (6, 3))[0]
    goal = torch.randint(10, (2, 6)) if output == "categorical" else x.flatten(2)
    parts = terms(model, objective, x, goal, noise)
    loss = parts.distortion + parts.rate @ torch.tensor(beta) + l2 * parts.error
    gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))
    for i in range(2):
        single = network.build(seeds[i : i + 1])
        expected = plain_loss(single, x[i], goal[i], noise[i], beta, l2, output)
        torch.testing.assert_close(loss[i], expected)
        reference = torch.autograd.grad(expected, list(single.parameters()))
        for ours, theirs in zip(gradients, reference, strict=True):
            torch.testing.assert_close(ours[i], theirs[0], atol=1e-5, rtol=1e-4)


def test_a_categorical_code_is_summed_out_exactly():
    network = mlp((1, 4, 4), latents=3, hidden=(8,), latent="categorical")
    model = network.build(torch.tensor([1]))
    x = torch.rand(1, 5, 1, 4, 4)
    parts = terms(model, Objective(), x, x.flatten(2), torch.zeros(1, 5, 3))
    (logits,) = model.encode(x)
    expected = 0.0
    for k in range(3):
        z = torch.eye(3)[k].expand(1, 5, 3)
        losses = Objective().distortion(model.decode(z), x.flatten(2))
        expected += (logits.softmax(-1)[..., k] * losses).mean()
    torch.testing.assert_close(parts.distortion[0], expected)


@pytest.mark.parametrize(
    "network",
    [mlp((1, 8, 8), latents=4, latent="point"), conv((1, 8, 8), latents=4, channels=(4,))],
)
def test_a_point_is_a_plain_autoencoder_without_rate(network):
    network = replace(network, latent="point")
    model, x = network.build(torch.tensor([3, 8])), torch.rand(2, 5, 1, 8, 8)
    parts = terms(model, Objective(), x, x.flatten(2), torch.randn(2, 5, 4))
    logits = model.decoder(model.encoder(x))
    expected = -D.Bernoulli(logits=logits, validate_args=False).log_prob(x.flatten(2)).sum(2)
    torch.testing.assert_close(parts.distortion, expected.mean(1))
    assert torch.equal(parts.rate, torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("network", "objective"),
    [
        (mlp((1, 8, 8), latents=4, hidden=(64,)), Objective()),
        (conv((1, 8, 8), latents=4, channels=(8, 16), hidden=32), Objective(l2=0.1)),
    ],
    ids=["mlp", "conv"],
)
def test_bfloat16_moves_losses_by_less_than_2_and_gradients_by_less_than_5_percent(
    digits, monkeypatch, network, objective
):
    def trained():
        return fit(network, objective, digits, grid(seed=range(3)), steps=60, batch_size=32)

    exact = trained()
    monkeypatch.setattr(training, "_precision", lambda _: torch.autocast("cpu", torch.bfloat16))
    rough = trained()
    columns = ["loss", "distortion", "error"]
    np.testing.assert_allclose(rough.history[columns], exact.history[columns], rtol=0.02)
    np.testing.assert_allclose(rough.history["rate"], exact.history["rate"], atol=0.05)
    assert not (rough.history["loss"] == exact.history["loss"]).any()
    assert {w.dtype for w in rough.models.parameters()} == {torch.float32}

    model = network.build(torch.tensor([1, 2]))
    x, noise = digits.images[:256].unflatten(0, (2, 128)) / digits.scale, torch.zeros(2, 128, 4)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            parts = terms(model, objective, x, x.flatten(2), noise)
        assert {parts.distortion.dtype, parts.rate.dtype, parts.error.dtype} == {torch.float32}
        loss = parts.distortion + parts.rate.sum(1) + parts.error
        gradients.append(torch.autograd.grad(loss.sum(), list(model.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() < 0.05 * one.norm()


def compile_with(backend, monkeypatch):
    """What a GPU compiles in a long run, compiled on this machine in any run."""
    real = torch.compile
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda f, **options: real(f, backend=backend, **options))
    monkeypatch.setattr(training, "_fuses", lambda *_: True)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_compiled_steps_are_the_plain_ones(digits, monkeypatch, case, products):
    network, objective = CASES[case]
    if products:
        monkeypatch.setattr(Convolutions, "forward", Convolutions.as_products)
    members = grid(beta=[1, linear(0, 4, 8)], seed=range(2))

    def trained():
        with threads(2):
            return fit(network, objective, digits, members, steps=60, batch_size=32)

    plain, graphs = trained(), []

    def backend(graph, inputs):
        graphs.append(graph)
        return aot_eager(graph, inputs)

    compile_with(backend, monkeypatch)
    fused = trained()
    assert len(graphs) == 1  # for both threads, and none later, in the second epoch
    np.testing.assert_allclose(fused.history["loss"], plain.history["loss"], rtol=1e-5)
    for member in range(4):
        assert_same(weights(fused, member), weights(plain, member), rtol=0, atol=1e-5)


def test_a_machine_that_cannot_compile_trains_all_the_same_and_says_so(digits, monkeypatch):
    def trained():
        return fit(SMALL, Objective(), digits, grid(seed=[3]), steps=5, batch_size=32)

    def broken(*_):
        raise OSError("no C compiler")

    plain = trained()
    compile_with(broken, monkeypatch)
    with pytest.warns(UserWarning, match="(?s)without compiled steps.*no C compiler"):
        fused = trained()
    assert_same(weights(fused), weights(plain), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("device", "steps", "expected"),
    [("cuda", 10_000, True), ("cuda", 9_999, False), ("cpu", 1_000_000, False)],
)
def test_only_long_runs_on_a_gpu_are_compiled(device, steps, expected):
    assert training._fuses(torch.device(device), steps) is expected


def test_adam_is_that_of_torch_with_each_members_own_rate_and_the_average_is_kept(digits):
    members = [{"seed": 0, "learning_rate": 1e-2}, {"seed": 1, "learning_rate": 1e-3}]
    decay = linear(1, 0.2, 20)
    optimiser = Optimiser(betas=(0.5, 0.9), epsilon=1e-6, decay=decay, average=0.9)
    runs = fit(VIB, LABELS, digits, members, steps=20, batch_size=10, optimiser=optimiser)
    for i, member in enumerate(members):
        seed = torch.tensor([member["seed"]])
        model = VIB.build(seed)
        plain = torch.optim.Adam(model.parameters(), betas=(0.5, 0.9), eps=1e-6)
        average = {k: v.clone() for k, v in model.state_dict().items()}
        order = digits_order(member["seed"], len(digits), 20 * 10)
        for step in range(20):
            rows = order[step * 10 : step * 10 + 10]
            x, noise = (
                digits.batch(rows) / digits.scale,
                normal(seed, range(step, step + 1), (10, 3), stream=1_000_001)[0],
            )
            loss = plain_loss(
                model, x, digits.labels[rows], noise[0], [1.0] * 3, 0.0, "categorical"
            )
            plain.param_groups[0]["lr"] = member["learning_rate"] * decay(step)
            plain.zero_grad()
            loss.backward()
            plain.step()
            for k, v in model.state_dict().items():
                average[k] = 0.9 * average[k] + 0.1 * v
        assert_same(weights(runs, i), {k: v[0] for k, v in average.items()}, atol=2e-5, rtol=1e-4)


def digits_order(seed, size, count):
    """What `fit` shows a member, read off a data set whose pictures carry their own index."""
    index = torch.arange(size)
    coded = torch.stack([index % 256, index // 256], 1).to(torch.uint8).reshape(size, 1, 1, 2)
    seen = []

    class Spy(Dataset):
        def batch(self, indices, device=None):
            seen.extend(indices[:, 0].flatten().tolist())
            return super().batch(indices, device)

    spy = Spy.from_arrays(coded.numpy())
    fit(
        mlp((1, 1, 2), latents=1, hidden=(1,)),
        Objective(),
        spy,
        [{"seed": seed}],
        steps=count // 10,
        batch_size=10,
    )
    return torch.tensor(seen)


def test_every_epoch_shows_every_picture_once_in_another_order(digits):
    seen = digits_order(3, 40, 80)
    first, second = seen[:40], seen[40:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(40))
    assert first.tolist() != second.tolist()
    assert digits_order(4, 40, 40).tolist() != first.tolist()


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_diverging_member_is_frozen_and_reported_and_the_others_do_not_notice(digits, rate):
    wild = [{"seed": 0}, {"seed": 1, "learning_rate": rate}, {"seed": 2}]
    options = {"steps": 60, "batch_size": 16, "log_every": 10}
    runs = fit(SMALL, Objective(), digits, wild, **options)
    assert list(runs.diverged) == [1]
    assert 0 < runs.diverged[1] < 60
    calm = fit(SMALL, Objective(), digits, [wild[0], wild[2]], **options)
    for i, j in ((0, 0), (2, 1)):
        assert_same(weights(runs, i), weights(calm, j), atol=1e-6, rtol=1e-6)
    assert all(w[1].isnan().all() for w in runs.models.parameters())
    for log_every in (1, 10):
        options["log_every"] = log_every
        steps = fit(SMALL, Objective(), digits, wild, **options).history.query("member == 1")[
            "step"
        ]
        assert steps.tolist() == list(range(log_every, runs.diverged[1] + 1, log_every))


RUN = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv.pop()))
from ibbook.training import ensemble as training
from ibbook.datasets import load
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.schedules import linear
network = mlp((1, 8, 8), latents=3, hidden=(16,))
members = [dict(seed=0), dict(seed=1, beta=linear(0, 4, 300)), dict(seed=2, learning_rate=1e6)]
where, out, halt = map(str, sys.argv[1:])
if halt == "step":
    inner, calls = training.terms, []
    def terms(*args):
        calls.append(1)
        if len(calls) == 217:
            print("ready", flush=True); time.sleep(60)
        return inner(*args)
    training.terms = terms
if halt == "write":
    inner, calls = training.os.replace, []
    def replace(a, b):
        calls.append(1)
        if len(calls) == 6:
            print("ready", flush=True); time.sleep(60)
        inner(a, b)
    training.os.replace = replace
runs = training.fit(network, Objective(), load("digits"), members, steps=300, batch_size=16,
    log_every=37, optimiser=training.Optimiser(average=0.99), checkpoint=where,
    checkpoint_seconds=0)
runs.save(out)
"""


@pytest.mark.parametrize(("halt", "threads"), [("step", 1), ("step", 2), ("write", 2)])
def test_a_run_killed_in_a_step_or_a_write_ends_bit_for_bit_like_one_that_was_not(
    tmp_path, halt, threads
):
    def start(name, halt):
        paths = [str(tmp_path / f"{name}.checkpoint"), str(tmp_path / f"{name}.runs")]
        call = [sys.executable, "-c", RUN, *paths, halt, str(threads)]
        return subprocess.Popen(call, stdout=subprocess.PIPE)

    with start("killed", halt) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.runs").exists()
    for name in ("killed", "whole"):
        with start(name, "no") as process:
            pass
        assert process.returncode == 0
    killed, whole = (Runs.load(tmp_path / f"{n}.runs") for n in ("killed", "whole"))
    for one, other in zip(killed.models.parameters(), whole.models.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    assert killed.diverged == whole.diverged
    assert killed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


def test_training_lowers_the_loss_and_beta_lowers_the_rate(digits):
    runs = fit(
        SMALL,
        Objective(),
        digits,
        grid(beta=[0.5, 8.0], seed=range(2)),
        steps=400,
        batch_size=64,
        log_every=100,
        optimiser=Optimiser(learning_rate=3e-3),
    )
    table = runs.history.pivot(index="step", columns="member", values="loss")
    assert (table.iloc[-1] < table.iloc[0]).all()
    rate = runs.final.groupby("beta")["rate"].mean()
    assert rate[0.5] > 2 * rate[8.0]


def test_history_is_tidy(digits):
    members = [{"beta": 2.0, "seed": 3, "l2": 0.5}, {"beta": 1.0, "seed": 4, "l2": 0.0}]
    runs = fit(SMALL, Objective(), digits, members, steps=10, batch_size=32, log_every=5)
    history = runs.history
    assert history["step"].tolist() == [5, 5, 10, 10]
    assert history["member"].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(history[["rate_0", "rate_1", "rate_2"]].sum(axis=1), history["rate"])
    expected = (
        history["distortion"] + history["beta"] * history["rate"] + history["l2"] * history["error"]
    )
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-6)
    assert runs.final["step"].tolist() == [10, 10]


def test_runs_come_back_from_their_file_and_choose_members(digits, tmp_path):
    members = [{"seed": 0, "beta": cyclical(10, 2)}, {"seed": 1, "beta": [1.0, 2.0, 3.0]}]
    objective = Objective(anchors={2: 0.5}, l2=0.1)
    runs = fit(SMALL, objective, digits, members, steps=10, batch_size=32)
    runs.save(tmp_path / "runs")
    back = Runs.load(tmp_path / "runs")
    assert_same(dict(runs.models.state_dict()), dict(back.models.state_dict()), rtol=0, atol=0)
    assert (back.network, back.objective, back.members) == (runs.network, objective, runs.members)
    assert isinstance(back.members[0]["beta"], Schedule)
    assert back.history.equals(runs.history)

    images = digits.images[:7] / digits.scale
    mean, log_variance = back.encode(images)
    assert mean.shape == log_variance.shape == (2, 7, 3)
    torch.testing.assert_close(back.encode(images, [1])[0], mean[1:])
    assert back.decode(mean).shape == (2, 7, 64)
    steps = back.traverse(images[0], torch.linspace(-2, 2, 5), [1])
    assert steps.shape == (1, 3, 5, 1, 8, 8)
    z = mean[1:, :1].clone()
    z[..., 2] = 2
    torch.testing.assert_close(steps[:, 2, 4].flatten(1), back.decode(z, [1])[:, 0])
    with pytest.raises(ValueError, match=r"members must be some of 0..1, got \[2\]"):
        back.encode(images, [2])


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
        Runs.load(tmp_path / "alien")


LINEAR = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=())


@pytest.fixture(scope="module")
def linear_runs(digits):
    """Linear decoders, whose mean output and mean squared error have closed forms."""
    objective = Objective(output="gaussian", variance=0.5)
    return fit(LINEAR, objective, digits, grid(seed=[4, 9, 4]), steps=20, batch_size=16)


def closed_form(runs, data):
    """Mean, variance and squared error of every pixel's prediction, of every member."""
    x = data.images[:] / data.scale
    mean, log_variance = runs.encode(x)
    (layer,) = (m for m in runs.models.decoder if hasattr(m, "weight"))
    output = mean @ layer.weight + layer.bias[:, None]
    variance = log_variance.exp() @ layer.weight.square()
    return output, variance, (output - x.flatten(1)).square() + variance


def test_predictions_average_over_the_noise_of_a_linear_decoder(digits, linear_runs):
    few = digits.sample(40)
    output, variance, _ = closed_form(linear_runs, few)
    for samples in (1, 400):
        predicted = linear_runs.predict(few.images[:] / few.scale, samples=samples)
        scores = (predicted - output) / (variance / samples).sqrt()
        assert scores.mean().abs() < 5 * (3 / scores.numel()) ** 0.5 * 64**0.5
        assert scores.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)


def test_predictions_depend_on_member_seed_and_place_and_not_on_company(digits, linear_runs):
    x = digits.images[:1500] / digits.scale
    whole = linear_runs.predict(x, samples=2)
    assert whole.shape == (3, 1500, 64)
    torch.testing.assert_close(linear_runs.predict(x[:7], samples=2), whole[:, :7])
    torch.testing.assert_close(linear_runs.predict(x, samples=2, members=[1]), whole[1:2])
    torch.testing.assert_close(whole[0], whole[2])  # the same member twice
    output = linear_runs.decode(linear_runs.encode(x)[0])
    one, other = whole - output, linear_runs.predict(x, samples=2, seed=1) - output
    for a, b in ((one[0], other[0]), (one[0], one[1]), (one[0, 1:], one[0, :-1])):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() < 0.05


def test_evaluation_of_images_has_the_closed_form_of_a_linear_decoder(digits, linear_runs):
    table = linear_runs.evaluate(digits, samples=30)
    columns = ["member", "seed", "samples", "distortion", "rate", "rate_0", "rate_1", "rate_2"]
    assert list(table.columns) == [*columns, "error"]
    assert table[["member", "seed", "samples"]].values.tolist() == [
        [0, 4, 30],
        [1, 9, 30],
        [2, 4, 30],
    ]
    error = closed_form(linear_runs, digits)[2].sum(2).mean(1)
    np.testing.assert_allclose(table["error"], error, rtol=0.01)
    constant = 32 * np.log(2 * np.pi * 0.5)
    np.testing.assert_allclose(table["distortion"], table["error"] + constant, rtol=1e-5)
    mean, log_variance = linear_runs.encode(digits.images[:] / digits.scale)
    prior = D.Normal(torch.zeros(()), torch.ones(()))
    rate = D.kl_divergence(D.Normal(mean, (log_variance / 2).exp()), prior).mean(1)
    np.testing.assert_allclose(table[["rate_0", "rate_1", "rate_2"]], rate, rtol=1e-4)
    np.testing.assert_allclose(table["rate"], rate.sum(1), rtol=1e-4)
    part = linear_runs.evaluate(digits, samples=30, members=[1])
    np.testing.assert_allclose(part, table.iloc[1:2], rtol=1e-5)


@pytest.mark.parametrize("latent", ["gaussian", "categorical", "point"])
def test_evaluation_of_labels_is_that_of_the_averaged_probabilities(digits, latent):
    optimiser = Optimiser(learning_rate=1e-2)
    runs = fit(
        replace(VIB, latent=latent), LABELS, digits, grid(beta=[0.01, 1.0]),
        steps=100, batch_size=50, optimiser=optimiser,
    )  # fmt: skip
    table = runs.evaluate(digits, samples=3)
    x = digits.images[:] / digits.scale
    probabilities = runs.predict(x, samples=3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, len(digits)))
    right = (probabilities.argmax(-1) == digits.labels).float().mean(1)
    np.testing.assert_allclose(table["accuracy"], right, rtol=1e-6)
    assert table["accuracy"][0] > 0.2  # of 10 classes
    if latent == "categorical":
        weight = runs.encode(x)[0].softmax(-1)
        each = torch.stack([runs.decode(torch.eye(3)[k].expand(2, 1, 3)) for k in range(3)], 2)
        torch.testing.assert_close(probabilities, (weight[..., None] * each).sum(2))
        nats = -(weight * each.log()[..., digits.labels].squeeze(1).mT).sum(-1).mean(1)
    elif latent == "point":
        nats = -D.Categorical(runs.decode(runs.encode(x)[0])).log_prob(digits.labels).mean(1)
        assert (table["rate"] == 0).all()
    else:
        nats = table["distortion"]
        mixed = -D.Categorical(probabilities).log_prob(digits.labels).mean(1)
        assert (mixed.numpy() < nats).all()  # Jensen: averaging probabilities costs fewer nats
    np.testing.assert_allclose(table["distortion"], nats, rtol=1e-5)


def test_bad_evaluations_are_named(digits, linear_runs):
    x = digits.images[:3] / digits.scale
    for call, message in (
        (lambda: linear_runs.predict(digits.images[:3]), "images must be float32 of shape"),
        (lambda: linear_runs.predict(x[0]), r"images must be .* got .*\(1, 8, 8\)"),
        (lambda: linear_runs.encode(x[:, :, :4]), r"shape \(n, 1, 8, 8\)"),
        (lambda: linear_runs.predict(x, samples=0), "samples must be an integer >= 1, got 0"),
        (lambda: linear_runs.predict(x, seed=-1), "seed must be an integer in 0.*, got -1"),
        (lambda: linear_runs.evaluate(digits, samples=1.5), "samples must be an integer"),
        (lambda: linear_runs.evaluate(digits, members=[3]), "members must be some of 0..2"),
        (
            lambda: linear_runs.evaluate(Dataset.from_arrays(np.zeros((4, 6, 6), np.uint8))),
            "data has pictures of shape",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


UNLABELLED = Dataset.from_arrays(np.zeros((20, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": [{"bta": 1.0}]}, r"member 0 has the key 'bta'.*did you mean 'beta'"),
        ({"members": []}, "members must not be empty"),
        ({"members": [{"beta": -1.0}]}, "beta must be finite and >= 0, got -1.0"),
        ({"members": [{"beta": [1.0, 2.0]}]}, "beta has 2 entries for 3 latents"),
        ({"members": [{"l2": -1.0}]}, "l2 must be finite and >= 0"),
        ({"members": [{"seed": 0.5}]}, "seed must be an integer >= 0, got 0.5"),
        ({"members": [{"learning_rate": 0.0}]}, "learning_rate must be positive"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 21}, r"batch_size must lie in 1\.\.20, the data's size, got 21"),
        ({"network": mlp((1, 4, 4), latents=2)}, r"pictures of shape \(1, 8, 8\), but network"),
        ({"network": VIB}, "network.outputs must be 64"),
        ({"network": VIB, "objective": LABELS}, "target is 'labels', but own has none"),
        ({"objective": Objective(anchors={3: 0.5})}, "anchors names latent 3, but there are 3"),
    ],
)
def test_bad_input_is_named_before_training_starts(change, message):
    call = {
        "network": SMALL,
        "objective": Objective(),
        "members": [{}],
        "steps": 1,
        "batch_size": 4,
    }
    call |= change
    with pytest.raises(ValueError, match=message):
        fit(call.pop("network"), call.pop("objective"), UNLABELLED, call.pop("members"), **call)


def test_labels_beyond_the_outputs_are_named(digits):
    network = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=(), outputs=5)
    with pytest.raises(ValueError, match=r"data has 10 classes, but network\.outputs is 5"):
        fit(network, LABELS, digits, [{}], steps=1, batch_size=4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device is 'cuda', but this machine has no GPU"):
        fit(SMALL, Objective(), UNLABELLED, [{}], steps=1, batch_size=4, device="cuda")


def test_a_device_that_no_one_has_tried_is_refused(digits):
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'meta'"):
        fit(SMALL, Objective(), digits, grid(seed=[0]), steps=1, batch_size=8, device="meta")


def test_bad_optimisers_are_named():
    with pytest.raises(ValueError, match=r"betas and average must lie in \[0, 1\)"):
        Optimiser(average=1.0)
    with pytest.raises(ValueError, match="learning_rate must be positive and finite, got -1"):
        Optimiser(learning_rate=-1)
