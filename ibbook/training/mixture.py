"""A categorical layer that begins at classes: those that EM finds in codes, or given ones.

Trained from random weights, a layer of ten classes on top of another mostly ends in fewer (chapter
6). Jiang et al. (2017) begin at a mixture that EM fits to the codes below; so does this, in the
latents that say something: among fifty that say nothing EM loses its clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from sklearn.mixture import GaussianMixture
from torch import Tensor

from ibbook._threads import threads
from ibbook.datasets import Dataset
from ibbook.networks import Network, mlp
from ibbook.noise import normal
from ibbook.objective import Objective
from ibbook.training.ensemble import Ensemble
from ibbook.training.fit import fit
from ibbook.training.members import check_member

LABELS = Objective(output="categorical", target="labels")
CODES = Objective(output="gaussian", variance="learned")
FLOOR = 1e-3  # added to the variances that EM estimates, so that no cluster is a point
DRAW = 4_000_000  # a stream of random numbers of its own
SAYS = 0.1  # nats of the picture, by a Gaussian's formula; latents that say less are left out


def mixture_layer(
    network: Network,
    mean: Float[Tensor, "members n latents"],
    log_variance: Float[Tensor, "members n latents"],
    seeds: Sequence[int],
    *,
    restarts: int = 10,
    steps: int = 1000,
    batch_size: int = 200,
) -> Ensemble:
    """`class_layer` with the classes of the likeliest of `restarts` mixtures, for each member.

    A mixture of Gaussians, each with a covariance of its own, is fitted by EM to the means of the
    latents that say at least 0.1 nats.

    >>> mean = torch.cat([torch.randn(1, 200, 2) - 5, torch.randn(1, 200, 2) + 5], 1)
    >>> two = mlp((2, 1, 1), latents=2, hidden=(8,), latent="categorical", outputs=4)
    >>> top = mixture_layer(two, mean, torch.full_like(mean, -4), [0], steps=300)
    >>> classes = top.encode(mean[0, ..., None, None])[0][0].argmax(-1)
    >>> len(classes[:200].unique()), len(classes[200:].unique()), len(classes.unique())
    (1, 1, 2)
    """
    _check(network, mean, log_variance, seeds)
    says = (1 + mean.var(1) / log_variance.exp().mean(1)).log() / 2  # [member, latent]
    chances = []
    for means, known, seed in zip(mean.double(), says, seeds, strict=True):
        if not (known > SAYS).any():
            raise ValueError(
                f"mean and log_variance of seed {seed} say at most {known.max():.2f} nats in any "
                f"latent, less than {SAYS}: there is nothing to sort; train longer or lower beta"
            )
        said = means[:, known > SAYS].numpy()
        mixture = GaussianMixture(
            network.latents, n_init=restarts, reg_covar=FLOOR, random_state=seed
        )
        with threads(1):
            chances.append(torch.as_tensor(mixture.fit(said).predict_proba(said)))
    return class_layer(
        network,
        mean,
        log_variance,
        torch.stack(chances),
        seeds,
        steps=steps,
        batch_size=batch_size,
    )


def class_layer(
    network: Network,
    mean: Float[Tensor, "members n latents"],
    log_variance: Float[Tensor, "members n latents"],
    chances: Float[Tensor, "members n classes"],
    seeds: Sequence[int],
    *,
    steps: int = 1000,
    batch_size: int = 200,
) -> Ensemble:
    """A categorical layer that begins at given classes: `chances` of each picture's code.

    Of codes drawn from the posteriors the encoder learns which class is the likeliest, and the
    decoder mean and log variance of each class.

    >>> mean = torch.tensor([[[-1.0], [1.0]]]).repeat(1, 50, 1)
    >>> two = mlp((1, 1, 1), latents=2, hidden=(8,), latent="categorical", outputs=2)
    >>> sides = torch.eye(2).repeat(50, 1)[None]
    >>> top = class_layer(two, mean, torch.full_like(mean, -6), sides, [0], steps=300)
    >>> top.encode(mean[0, :2, :, None, None])[0][0].argmax(-1).tolist()
    [0, 1]
    """
    _check(network, mean, log_variance, seeds)
    wanted = (*mean.shape[:2], network.latents)
    if chances.shape != wanted or (chances < 0).any() or (chances.sum(1) == 0).any():
        raise ValueError(
            f"chances must be >= 0, {wanted}, and name every class, got {tuple(chances.shape)}"
        )
    reader = mlp(
        network.picture,
        latents=network.latents,
        hidden=network.encoder,
        decoder=(),
        outputs=network.latents,
        latent="none",
        initial=network.initial,
    )
    model = network.build(torch.tensor(list(seeds)))
    encoders, tables = [], []
    with threads(1):  # clusters and layers are small
        for *code, shares, seed in zip(mean, log_variance, chances.double(), seeds, strict=True):
            z = _drawn(*code, seed)
            found = Dataset.from_codes(z, labels=shares.argmax(1))
            size = min(batch_size, len(z))
            read = fit(reader, LABELS, found, [{"seed": seed}], steps=steps, batch_size=size)
            encoders.append(read.models.encoder.state_dict())
            tables.append(_moments(z, shares))
        model.encoder.load_state_dict({k: torch.cat([e[k] for e in encoders]) for k in encoders[0]})
        _teach(model.decoder, torch.stack(tables))
    members = [check_member({"seed": seed}, i) for i, seed in enumerate(seeds)]
    return Ensemble(network, CODES, members, model.requires_grad_(False), [], {})


def _check(network: Network, mean: Tensor, log_variance: Tensor, seeds: Sequence[int]) -> None:
    size = mean.shape[-1]
    if network.latent != "categorical" or network.picture != (size, 1, 1):
        raise ValueError(
            f"network must have one categorical latent and take codes ({size}, 1, 1), got "
            f"{network.latent!r} and {network.picture}"
        )
    if log_variance.shape != mean.shape:
        shapes = f"{tuple(mean.shape)}, got {tuple(log_variance.shape)}"
        raise ValueError(f"log_variance must have the shape of mean, {shapes}")
    if len(seeds) != len(mean):
        raise ValueError(f"seeds must be {len(mean)}, one for each member, got {len(seeds)}")


def _drawn(
    mean: Float[Tensor, "n latents"], log_variance: Float[Tensor, "n latents"], seed: int
) -> Float64[Tensor, "n latents"]:
    """One draw from each posterior of a member."""
    noise = normal(torch.tensor([seed]), range(1), mean.shape, stream=DRAW)[0, 0]
    return mean.double() + (log_variance.double() / 2).exp() * noise


def _moments(
    z: Float64[Tensor, "n latents"], chances: Float64[Tensor, "n classes"]
) -> Float[Tensor, "classes outputs"]:
    """Mean and log variance of the codes of each class."""
    shares = (chances / chances.sum(0)).T
    means = shares @ z
    variances = shares @ z.square() - means.square() + FLOOR
    return torch.cat([means, variances.log()], -1).float()


def _teach(decoder: torch.nn.Module, tables: Float[Tensor, "members classes outputs"]) -> None:
    """Adam on each member's squared error over the classes, which are all the inputs there are."""
    every = torch.eye(tables.shape[1], dtype=tables.dtype).expand(len(tables), -1, -1)
    adam = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(1000):
        adam.zero_grad()
        (decoder(every) - tables).square().mean((1, 2)).sum().backward()
        adam.step()
