"""One trainer for many models: members with their own beta, seed or learning rate, all at once.

A member's weights, batches and noise are functions of its own seed and the step. So it ends where
it would have ended alone, and a run that was killed goes on from its checkpoint as if nothing had
happened.
"""

from ibbook.training.ensemble import Ensemble
from ibbook.training.fit import fit
from ibbook.training.loss import Terms, terms
from ibbook.training.members import Member, grid
from ibbook.training.mixture import class_layer, mixture_layer
from ibbook.training.models import model
from ibbook.training.optimiser import Optimiser

__all__ = [
    "Ensemble",
    "Member",
    "Optimiser",
    "Terms",
    "class_layer",
    "fit",
    "grid",
    "mixture_layer",
    "model",
    "terms",
]
