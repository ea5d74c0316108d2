from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture

from ibbook.metrics import majority_accuracy
from ibbook.networks import mlp
from ibbook.training import class_layer, mixture_layer

TOP = mlp((3, 1, 1), latents=4, hidden=(16, 8), latent="categorical", outputs=6)


def hills(seed, n=300):
    """Codes around four centres, longer along one axis than the others."""
    generator = torch.Generator().manual_seed(seed)
    centres = 6 * torch.eye(4)[:, :3]
    each = centres.repeat_interleave(n, 0)
    spread = torch.tensor([1.0, 0.5, 0.3])
    return each + spread * torch.randn(each.shape, generator=generator)


SURE = torch.full((1, 1200, 3), -9.0)  # log variances of posteriors that are nearly points


@pytest.fixture(scope="module")
def top():
    means = torch.stack([hills(0), hills(1)])
    return mixture_layer(TOP, means, SURE.expand(2, -1, -1), [0, 7], steps=500)


def test_its_classes_are_those_of_the_mixture(top):
    for member, seed in enumerate((0, 7)):
        z = hills(member)
        mixture = GaussianMixture(4, n_init=10, reg_covar=1e-3, random_state=seed).fit(z.double())
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
    alone = mixture_layer(TOP, hills(1)[None], SURE, [7], steps=500)
    x = hills(1)[..., None, None]
    torch.testing.assert_close(alone.encode(x)[0][0], top.encode(x, [1])[0][0])


def test_latents_that_say_nothing_do_not_hide_the_clusters():
    """In all 103 latents EM gets three of four clusters."""
    noise = 0.4 * torch.randn(1200, 100, generator=torch.Generator().manual_seed(1))
    mean, log_variance = torch.cat([hills(0), noise], 1), torch.zeros(1200, 103)
    log_variance[:, :3] = -9
    network = mlp((103, 1, 1), latents=4, hidden=(16, 8), latent="categorical", outputs=206)
    top = mixture_layer(network, mean[None], log_variance[None], [0], steps=500)
    classes = top.encode(mean[..., None, None])[0][0].argmax(-1)
    assert majority_accuracy(classes, torch.arange(4).repeat_interleave(300)) > 0.9
    variances = top.models.decode(torch.eye(4)[None])[0].chunk(2, -1)[1].exp()
    torch.testing.assert_close(variances[:, 3:], torch.full((4, 100), 1.16), rtol=0.4, atol=0)


def test_its_decoder_states_the_codes_that_are_drawn():
    """A latent's variance within a cluster is that of its means and that of its posteriors."""
    wide = torch.full((1, 1200, 3), 0.25).log()
    top = mixture_layer(TOP, hills(0)[None], wide, [0], steps=500)
    variances = top.models.decode(torch.eye(4)[None])[0].chunk(2, -1)[1].exp()
    expected = torch.tensor([1.0, 0.25, 0.09]) + 0.25
    torch.testing.assert_close(variances, expected.expand(4, -1), rtol=0.2, atol=0)


def test_a_layer_begins_at_the_classes_that_it_is_given():
    """Halves of pairs of hills: what no mixture would find; half a chance is half the weight."""
    own = torch.arange(1200) % 2
    chances = torch.nn.functional.one_hot(torch.arange(1200) // 600 * 2 + own, 4).float()
    chances[600:, 2:] = 0.5
    network = mlp((3, 1, 1), latents=4, hidden=(16, 8), latent="categorical", outputs=6)
    top = class_layer(network, hills(0)[None], SURE, chances[None], [0], steps=100)
    mean, log_variance = top.models.decode(torch.eye(4)[None])[0].chunk(2, -1)
    parts = [hills(0)[:600][own[:600] == k] for k in (0, 1)] + [hills(0)[600:]] * 2
    for k, part in enumerate(parts):
        torch.testing.assert_close(mean[k], part.mean(0), rtol=0, atol=0.1)
        torch.testing.assert_close(log_variance[k].exp(), part.var(0), rtol=0.1, atol=0.02)


def test_networks_and_seeds_that_do_not_fit_are_named():
    codes = torch.randn(1, 50, 3)
    sure = torch.full_like(codes, -9)
    with pytest.raises(ValueError, match="one categorical latent and take codes"):
        mixture_layer(mlp((3, 1, 1), latents=4, outputs=6), codes, sure, [0])
    with pytest.raises(ValueError, match="seeds must be 1, one for each member, got 2"):
        mixture_layer(TOP, codes, sure, [0, 1])
    with pytest.raises(ValueError, match=r"log_variance must have the shape of mean, \(1, 50, 3\)"):
        mixture_layer(TOP, codes, sure[0], [0])
    with pytest.raises(ValueError, match=r"seed 5 say at most 0\.0\d nats.*lower beta"):
        mixture_layer(TOP, 0.1 * codes, torch.zeros_like(codes), [5])
    chances = torch.full((1, 50, 4), 0.25)
    for wrong in (chances[:, :, :3], -chances, chances * torch.tensor([1, 1, 1, 0])):
        with pytest.raises(ValueError, match=r"chances must be >= 0, \(1, 50, 4\), and name every"):
            class_layer(TOP, codes, sure, wrong, [0])
