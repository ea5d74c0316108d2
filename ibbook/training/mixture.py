"""A categorical layer that begins as a mixture of Gaussians: what EM finds, put into networks.

Trained from random weights, a layer of ten classes on top of another mostly ends in fewer (chapter
6). Jiang et al. (2017) begin at a mixture that EM fits to the codes below; so does this.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from torch import Tensor

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
    steps: int = 2000,
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
    layers = []
    for z, seed in zip(codes, seeds, strict=True):
        mixture = GaussianMixture(classes, n_init=restarts, reg_covar=FLOOR, random_state=seed)
        mixture.fit(z.double().numpy())
        found = torch.as_tensor(mixture.predict(z.double().numpy()))
        data = Dataset.from_codes(z, labels=found)
        batch = min(batch_size, len(z))
        read = fit(reader, LABELS, data, [{"seed": seed}], steps=steps, batch_size=batch)
        layer = network.build(torch.tensor([seed]))
        layer.encoder.load_state_dict(read.models.encoder.state_dict())
        means = torch.as_tensor(mixture.means_)
        variances = torch.as_tensor(mixture.covariances_).diagonal(dim1=-2, dim2=-1)
        _teach(layer.decoder, torch.cat([means, variances.log()], -1).float())
        layers.append(layer.state_dict())
    model = network.build(torch.tensor(list(seeds)))
    model.load_state_dict({k: torch.cat([layer[k] for layer in layers]) for k in layers[0]})
    members = [check_member({"seed": seed}, i) for i, seed in enumerate(seeds)]
    return Ensemble(network, CODES, members, model.requires_grad_(False), [], {})


def _teach(decoder: torch.nn.Module, table: Float[Tensor, "classes outputs"]) -> None:
    """Adam on the squared error over the classes, which are all the inputs there are."""
    every = torch.eye(len(table))[None]
    adam = torch.optim.Adam(decoder.parameters(), 5e-3)
    for _ in range(2000):
        adam.zero_grad()
        (decoder(every)[0] - table).square().mean().backward()
        adam.step()
