"""Small networks of every kind, members for them, and the plain code they are compared with."""

from __future__ import annotations

import torch
from torch import distributions as D

from ibbook.datasets import Dataset
from ibbook.networks import conv, mlp, stack
from ibbook.objective import Objective
from ibbook.schedules import linear
from ibbook.training import fit

SMALL = mlp((1, 8, 8), latents=3, hidden=(16,))
VIB = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=(), outputs=10)
LABELS = Objective(output="categorical", target="labels")
STACKED = stack(
    mlp((1, 8, 8), latents=3, hidden=(16,)), latents=4, hidden=(8,), latent="categorical"
)
CASES = {
    "vae": (SMALL, Objective()),
    "vib": (VIB, LABELS),
    "convolutional": (conv((1, 8, 8), latents=2, channels=(4, 8), hidden=16), Objective(l2=0.1)),
    "categorical": (mlp((1, 8, 8), latents=4, hidden=(16,), latent="categorical"), Objective()),
    "point": (mlp((1, 8, 8), latents=4, hidden=(16,), latent="point"), Objective()),
    "stacked": (STACKED, Objective(beta=[0.5, 1.0, linear(0, 1, 20), 1.0])),
    "learned variance": (
        mlp((1, 8, 8), latents=3, hidden=(16,), outputs=128),
        Objective(output="gaussian", variance="learned"),
    ),
    "classifier": (
        mlp(
            (1, 8, 8),
            latents=10,
            hidden=(16,),
            decoder=(),
            outputs=10,
            latent="none",
            initial="glorot",
            centred=True,
        ),
        LABELS,
    ),
}
MEMBERS = [
    {"beta": b, "seed": s, "learning_rate": r}
    for b in (0.1, 1.0, 4.0, linear(0, 4, 50))
    for s, r in ((0, 1e-3), (1, 1e-3), (1, 3e-3), (2, 1e-2))
]


def weights(ensemble, member=0):
    return {k: v[member] for k, v in ensemble.models.state_dict().items()}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance)


def plain_loss(model, x, target, noise, beta, l2, output):
    """The objective of one member, written with torch.distributions and no member axis."""
    mean, log_variance = (c[0] for c in model.encode(x[None]))
    p = D.Normal(mean, (log_variance / 2).exp())
    decoded = model.decode((p.loc + p.scale * noise)[None])[0]
    rate = D.kl_divergence(p, D.Normal(torch.zeros(()), torch.ones(()))) @ torch.tensor(beta)
    if output == "categorical":
        return (-D.Categorical(logits=decoded).log_prob(target) + rate).mean()
    if output == "bernoulli":
        distortion = -D.Bernoulli(logits=decoded, validate_args=False).log_prob(target).sum(1)
        decoded = decoded.sigmoid()
    else:
        distortion = -D.Normal(decoded, 0.5**0.5).log_prob(target).sum(1)
    return (distortion + rate + l2 * (decoded - target).square().sum(1)).mean()


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
