"""The information bottleneck: compress X into T and keep what T says about Y.

Minimise L = I(X;T) - beta I(T;Y) over encoders p(t|x) (Tishby, Pereira and Bialek 1999). Every
stationary point solves the self-consistent equations

    p(t|x) = p(t) exp(-beta D_KL[p(y|x) || p(y|t)]) / Z(x),    p(y|t) = sum_x p(y|x) p(x|t).

They have many solutions, since L is not convex in the encoder. But with the decoders p(y|t) fixed,
L is convex in their weights p(t): it is rate-distortion with the distortion D_KL. Let the decoders
be *all* distributions q on Y, and the problem is convex as a whole: a mixture of infinitely many
components, of which few have mass (Witsenhausen and Wyner 1975; for mixtures, Kiefer and Wolfowitz
1956, Lindsay 1983). It is solved if and only if no q, with mass or without, has

    W(q) = sum_x p(x) exp(-beta D_KL[p(y|x) || q]) / Z(x)  >  1,

and L is never lower by more than ln max D. Close to a cluster, D > 1 is the second-order test that
it splits; far from all clusters it finds the ones that no gradual splitting finds.

Information is in nats. Lists and numpy arrays are accepted wherever a tensor is; the arithmetic is
float64 on the device of the first argument.
"""

from ibbook.bottleneck.binary import BinaryBottleneck, binary_bottleneck
from ibbook.bottleneck.curve import EncoderAt, InformationCurve, encoder_at, information_curve
from ibbook.bottleneck.discrete import Bottleneck, information_bottleneck
from ibbook.bottleneck.gaussian import GaussianBottleneck, gaussian_bottleneck
from ibbook.bottleneck.merging import Merge, merge_tree
from ibbook.bottleneck.stability import critical_beta, splitting_betas

__all__ = [
    "BinaryBottleneck",
    "Bottleneck",
    "EncoderAt",
    "GaussianBottleneck",
    "InformationCurve",
    "Merge",
    "binary_bottleneck",
    "critical_beta",
    "encoder_at",
    "gaussian_bottleneck",
    "information_bottleneck",
    "information_curve",
    "merge_tree",
    "splitting_betas",
]
