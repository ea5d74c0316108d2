from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture

from ibbook.networks import mlp
from ibbook.training import mixture_layer

TOP = mlp((3, 1, 1), latents=4, hidden=(16, 8), latent="categorical", outputs=6)


def hills(seed, n=300):
    """Codes around four centres, longer along one axis than the others."""
    generator = torch.Generator().manual_seed(seed)
    centres = 6 * torch.eye(4)[:, :3]
    each = centres.repeat_interleave(n, 0)
    spread = torch.tensor([1.0, 0.5, 0.3])
    return each + spread * torch.randn(each.shape, generator=generator)


@pytest.fixture(scope="module")
def top():
    return mixture_layer(TOP, torch.stack([hills(0), hills(1)]), [0, 7], steps=500)


def test_its_classes_are_those_of_the_mixture(top):
    for member, seed in enumerate((0, 7)):
        z = hills(member)
        mixture = GaussianMixture(4, n_init=3, reg_covar=1e-3, random_state=seed).fit(z.double())
        (logits,) = top.encode(z[..., None, None], [member])
        assert (logits[0].argmax(-1).numpy() == mixture.predict(z.double())).mean() > 0.99


def test_its_decoder_states_each_cluster(top):
    """Against the samples of each cluster themselves."""
    for member in range(2):
        z = hills(member)
        classes = top.encode(z[..., None, None], [member])[0][0].argmax(-1)
        mean, log_variance = top.models.decode(torch.eye(4).expand(2, -1, -1))[member].chunk(2, -1)
        for k in range(4):
            own = z[classes == k]
            torch.testing.assert_close(mean[k], own.mean(0), rtol=0, atol=0.1)
            torch.testing.assert_close(log_variance[k].exp(), own.var(0), rtol=0.1, atol=0.02)


def test_members_have_their_own_seeds_and_codes(top):
    assert [m["seed"] for m in top.members] == [0, 7]
    alone = mixture_layer(TOP, hills(1)[None], [7], steps=500)
    x = hills(1)[..., None, None]
    torch.testing.assert_close(alone.encode(x)[0][0], top.encode(x, [1])[0][0])


def test_networks_and_seeds_that_do_not_fit_are_named():
    codes = torch.randn(1, 50, 3)
    with pytest.raises(ValueError, match="one categorical latent and take codes"):
        mixture_layer(mlp((3, 1, 1), latents=4, outputs=6), codes, [0])
    with pytest.raises(ValueError, match="seeds must be 1, one for each member, got 2"):
        mixture_layer(TOP, codes, [0, 1])
