"""Adam, as the members share it."""

from __future__ import annotations

from dataclasses import dataclass

from ibbook._numbers import number
from ibbook.schedules import Schedule


@dataclass(frozen=True)
class Optimiser:
    """Adam (Kingma and Ba, 2015), shared by the members; each may have its own learning rate.

    decay:    the learning rate's factor at each step, 1 without it
    average:  keep a moving average of the weights, of this decay, and return it; 0 for none
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    decay: Schedule | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        plain = {"learning_rate": check_rate(self.learning_rate)}
        plain |= {name: number(getattr(self, name), name) for name in ("epsilon", "average")}
        plain["betas"] = tuple(number(b, "betas") for b in self.betas)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if not all(0 <= b < 1 for b in (*self.betas, self.average)):
            raise ValueError(
                f"betas and average must lie in [0, 1), got {self.betas} and {self.average}"
            )


def check_rate(rate: float) -> float:
    """A learning rate: a positive finite number."""
    return number(rate, "learning_rate", "positive and finite", lambda found: found > 0)
