"""One trainer for many models: members with their own beta, seed or learning rate, all at once."""

from ibbook.training.ensemble import Optimiser, Runs, Terms, fit, grid, terms

__all__ = ["Optimiser", "Runs", "Terms", "fit", "grid", "terms"]
