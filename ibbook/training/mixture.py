"""A categorical layer that begins as a mixture of Gaussians: what EM finds, put into networks.

Trained from random weights, a layer of ten classes on top of another mostly ends in fewer (chapter
6). Jiang et al. (2017) begin at a mixture that EM fits to the codes below; so does this.
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
from ibbook.objective import Objective
from ibbook.training.ensemble import Ensemble
from ibbook.training.fit import fit
from ibbook.training.members import check_member

LABELS = Objective(output="categorical", target="labels")
CODES = Objective(output="gaussian", variance="learned")
FLOOR = 1e-3  # added to the variances that EM estimates, so that no cluster is a point


def mixture_layer(
    network: Network,
    codes: Float[Tensor, "members n latents"],
    seeds: Sequence[int],
    *,
    restarts: int = 3,
    steps: int = 1000,
    batch_size: int = 200,
) -> Ensemble:
    """A member for each set of codes, with the classes of the likeliest of `restarts` mixtures.

    Each cluster has a covariance of its own. The encoder learns which cluster a code is most likely
    of; the decoder learns mean and log variance of each cluster's codes.

    >>> codes = torch.cat([torch.randn(1, 200, 2) - 5, torch.randn(1, 200, 2) + 5], 1)
    >>> two = mlp((2, 1, 1), latents=2, hidden=(8,), latent="categorical", outputs=4)
    >>> top = mixture_layer(two, codes, [0], steps=300)
    >>> classes = top.encode(codes[0, ..., None, None])[0][0].argmax(-1)
    >>> len(classes[:200].unique()), len(classes[200:].unique()), len(classes.unique())
    (1, 1, 2)
    """
    size, classes = codes.shape[-1], network.latents
    if network.latent != "categorical" or network.picture != (size, 1, 1):
        raise ValueError(
            f"network must have one categorical latent and take codes ({size}, 1, 1), got "
            f"{network.latent!r} and {network.picture}"
        )
    if len(seeds) != len(codes):
        raise ValueError(f"seeds must be {len(codes)}, one for each member, got {len(seeds)}")
    reader = mlp(
        network.picture,
        latents=classes,
        hidden=network.encoder,
        decoder=(),
        outputs=classes,
        latent="none",
        initial=network.initial,
    )
    with threads(1):  # clusters and layers are small
        layers = [
            _layer(network, reader, z, seed, restarts, steps, min(batch_size, len(z)))
            for z, seed in zip(codes.double(), seeds, strict=True)
        ]
    model = network.build(torch.tensor(list(seeds)))
    model.load_state_dict({k: torch.cat([layer[k] for layer in layers]) for k in layers[0]})
    members = [check_member({"seed": seed}, i) for i, seed in enumerate(seeds)]
    return Ensemble(network, CODES, members, model.requires_grad_(False), [], {})


def _layer(
    network: Network,
    reader: Network,
    z: Float64[Tensor, "n latents"],
    seed: int,
    restarts: int,
    steps: int,
    batch_size: int,
) -> dict[str, Tensor]:
    """The weights of one member."""
    mixture = GaussianMixture(network.latents, n_init=restarts, reg_covar=FLOOR, random_state=seed)
    found = Dataset.from_codes(z, labels=torch.as_tensor(mixture.fit_predict(z.numpy())))
    read = fit(reader, LABELS, found, [{"seed": seed}], steps=steps, batch_size=batch_size)
    layer = network.build(torch.tensor([seed]))
    layer.encoder.load_state_dict(read.models.encoder.state_dict())
    means, covariances = (torch.as_tensor(a) for a in (mixture.means_, mixture.covariances_))
    log_variances = covariances.diagonal(dim1=-2, dim2=-1).log()
    _teach(layer.decoder, torch.cat([means, log_variances], -1).float())
    return layer.state_dict()


def _teach(decoder: torch.nn.Module, table: Float[Tensor, "classes outputs"]) -> None:
    """Adam on the squared error over the classes, which are all the inputs there are."""
    every = torch.eye(len(table), dtype=torch.float32)[None]
    adam = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(1000):
        adam.zero_grad()
        (decoder(every)[0] - table).square().mean().backward()
        adam.step()
