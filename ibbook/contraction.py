"""How much a channel lets through: its maximal correlation and its contraction coefficient.

A joint distribution p(x, y) is a channel p(y|x) with an input p(x). Both numbers lie in [0, 1]:
they are 0 only if X and Y are independent, and 1 if some f(X) = g(Y) is not constant. Leading axes
are batches. Lists and numpy arrays are accepted wherever a tensor is; the arithmetic is float64 on
the device of the argument.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import distribution

LETTERS = 32  # that starts are made of: those that say most where there are more
SHARES = (1 - 1e-12, 0.9, 0.3)  # of the letter in a start, the rest is p(x)
HALVINGS = 8  # of a start along the singular direction
KEPT = 64  # starts that are followed to their end
MEMORY, RIDGE = 6, 1e-10  # steps that Anderson's acceleration looks back on
LONGEST, PATIENCE = 500, 12  # steps in all, and without a gain
GAIN = 1e-12
NEAR = 1e-8  # nats from p(x) below which rounding would show in a quotient of divergences
TINY = 1e-300


def maximal_correlation(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """rho = max E[f(X) g(Y)] over all f, g of mean 0 and variance 1 (Hirschfeld 1935).

    It is the second singular value of p(x, y) / sqrt[p(x) p(y)], whose first is 1 (Gebelein 1941,
    Rényi 1959). Outcomes of mass 0 do not count; where X or Y has one value only, rho is 0.

    >>> round(maximal_correlation([[0.45, 0.05], [0.05, 0.45]]).item(), 4)
    0.8
    """
    pxy = distribution(pxy, "pxy", axes=2)
    return torch.linalg.svdvals(_dependence(pxy))[..., 0].clamp(max=1)


@torch.no_grad()
def contraction_coefficient(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """eta = sup over r(x) of D_KL[r(y) || p(y)] / D_KL[r(x) || p(x)], r(y) = sum_x r(x) p(y|x).

    Data processing with its best constant: I(U;Y) <= eta I(U;X) for every chain U - X - Y, and for
    no smaller number (Ahlswede and Gács 1976; Anantharam et al. 2013). So no encoder of X has
    I(T;X) - beta I(T;Y) < 0 for beta <= 1 / eta, and some encoder does above it. With the maximal
    correlation rho,

        rho^2  <=  eta  <=  max over x, x' of sum_y |p(y|x) - p(y|x')| / 2,

    where the upper bound is Dobrushin's coefficient (Polyanskiy and Wu 2017).

    The quotient eta(r) may have many local maxima, and a search climbs it from many starts: every
    x, every pair (both among the 32 most telling x), and both ways along the function f of rho.
    A step is

        r(x)  <-  p(x) exp[sum_y p(y|x) ln(r(y) / p(y)) / eta(r)] / normalisation,

    the tilting of p(x) by r(y) that is also the bottleneck's. It never lowers the quotient:
    D_KL[r(y) || p(y)] is convex in r and lies above its tangent, and the step is the maximum of
    that tangent less eta(r) D_KL[r(x) || p(x)]. Anderson's acceleration is taken where it gains.

    The result is a lower bound of the supremum, up to rounding (some 1e-11): it is the quotient
    of an r that was found, or rho^2, the limit for r close to p(x). That no r has more is proved
    for none but the known cases; an r within 1e-8 nats of p(x) counts as the limit.

    >>> round(contraction_coefficient([[0.45, 0.05], [0.05, 0.45]]).item(), 4)  # rho^2 = 0.8^2
    0.64
    >>> rare_but_telling = [[0.01, 0.0], [0.495, 0.495]]
    >>> round(contraction_coefficient(rare_but_telling).item(), 4)
    0.1484
    >>> round(maximal_correlation(rare_but_telling).item() ** 2, 4)
    0.0099
    """
    pxy = distribution(pxy, "pxy", axes=2)
    return _supremum(pxy.reshape(-1, *pxy.shape[-2:])).reshape(pxy.shape[:-2])


def _dependence(pxy: Float64[Tensor, "*batch x y"]) -> Float64[Tensor, "*batch x y"]:
    """[p(x, y) - p(x) p(y)] / sqrt[p(x) p(y)], without the first singular value."""
    px, py = pxy.sum(-1, keepdim=True), pxy.sum(-2, keepdim=True)
    return (pxy - px * py) / px.sqrt().clamp(min=TINY) / py.sqrt().clamp(min=TINY)


def _supremum(pxy: Float64[Tensor, "b x y"]) -> Float64[Tensor, "b"]:
    """eta of every joint. Each r is held as h(x) = ln[r(x) / p(x)], on an axis of starts."""
    px, py = pxy.sum(2)[:, None], pxy.sum(1)[:, None]
    given_x = (pxy / px.mT.clamp(min=TINY)).mT  # p(y|x), [b, y, x]
    given_y = pxy / py.clamp(min=TINY)  # p(x|y), [b, x, y]

    def normalised(h: Tensor) -> Tensor:
        h = h - torch.logsumexp(h + px.log(), -1, keepdim=True)
        return torch.where(px > TINY, h, 0.0)

    def quotient(h: Tensor) -> Tensor:
        excess = h.expm1()  # r(x) / p(x) - 1; its mean given y is r(y) / p(y) - 1
        apart = (_divergence(excess) * px).sum(-1)
        kept = (_divergence(excess @ given_y) * py).sum(-1)
        return torch.where(apart > NEAR, kept / apart, 0.0).clamp(0, 1)

    def step(h: Tensor) -> Tensor:
        eta = quotient(h)
        eta = torch.where(eta > 0, eta.clamp(min=1e-12), torch.inf)  # what came to p(x) stays
        gain = (h.exp() @ given_y).clamp(min=TINY).log()
        return normalised(gain @ given_x / eta[..., None])

    rho, starts = _starts(pxy, px, py, given_x)
    h = step(normalised(starts))
    best = quotient(h).topk(min(KEPT, h.shape[1])).indices
    h = h.take_along_dim(best[..., None], 1)
    eta, last = rho.clamp(max=1) ** 2, 0
    places, images = [], []
    for k in range(LONGEST):
        places, images = [*places[1 - MEMORY :], h], [*images[1 - MEMORY :], step(h)]
        leap = normalised(_extrapolated(places, images, h.exp() * px))
        h = torch.where((quotient(leap) >= quotient(images[-1]))[..., None], leap, images[-1])
        found = quotient(h).amax(-1)
        last = k if (found > eta + GAIN).any() else last
        eta = torch.maximum(eta, found)
        if k - last >= PATIENCE:
            break
    return eta


def _starts(
    pxy: Float64[Tensor, "b x y"],
    px: Float64[Tensor, "b 1 x"],
    py: Float64[Tensor, "b 1 y"],
    given_x: Float64[Tensor, "b y x"],
) -> tuple[Float64[Tensor, "b"], Float64[Tensor, "b starts x"]]:
    """rho, and h at single letters, at pairs, and both ways along the function of rho."""
    left, rho, _ = torch.linalg.svd(_dependence(pxy), full_matrices=False)
    function = torch.where(px > TINY, left[..., :1].mT / px.sqrt(), 0.0)
    ways = torch.cat([function, -function], 1)
    ways = ways / (-ways.amin(-1, keepdim=True)).clamp(min=1e-9)  # r would reach 0 at 1
    ways = torch.cat([0.9 / 2**k * ways for k in range(HALVINGS)], 1)

    # the quotient of r that is all at x: D_KL[p(y|x) || p(y)] / -ln p(x)
    says = torch.xlogy(given_x, given_x / py.mT.clamp(min=TINY)).sum(1) / -px[:, 0].log()
    most = says.nan_to_num(0.0).topk(min(LETTERS, says.shape[-1])).indices
    letters = torch.nn.functional.one_hot(most, px.shape[-1])
    i, j = torch.triu_indices(len(most[0]), len(most[0]), 1, device=px.device)

    def at(letters: Tensor, share: float) -> Tensor:
        return share * (letters / (letters * px).sum(-1, keepdim=True).clamp(min=TINY) - 1)

    pairs = at(letters[:, i] + letters[:, j], SHARES[0])
    excess = torch.cat([ways, pairs, *(at(letters, share) for share in SHARES)], 1)
    return rho[..., 0], excess.log1p()


def _extrapolated(
    places: list[Float64[Tensor, "*m x"]],
    images: list[Float64[Tensor, "*m x"]],
    weights: Float64[Tensor, "*m x"],
) -> Float64[Tensor, "*m x"]:
    """The affine combination of images that is closest to that of places (Anderson 1965)."""
    reached = torch.stack(images, -2)
    moves = (reached - torch.stack(places, -2)) * weights.sqrt()[..., None, :]
    gram = moves @ moves.mT
    scale = gram.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None].clamp(min=TINY)
    gram = gram / scale + RIDGE * torch.eye(len(places)).to(gram)
    share = torch.linalg.solve_ex(gram, torch.ones_like(gram[..., :1])).result
    return (share / share.sum(-2, keepdim=True) * reached).sum(-2)


def _divergence(excess: Tensor) -> Tensor:
    """(1 + u) ln(1 + u) - u, whose mean under p is D_KL[(1 + u) p || p], precise for small u."""
    excess = excess.clamp(min=-1)  # rounding may cross it
    return torch.special.xlog1py(1 + excess, excess) - excess
