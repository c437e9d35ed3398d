"""How image tokens are sampled: part of every dataset, which is read without PyTorch."""

import math
from dataclasses import dataclass, replace

from ecgvf.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How image tokens are sampled. Raises ``SettingsError`` for a value out of range."""

    guidance: float = 5.0
    """Scale of classifier-free guidance, at least 0: uncond + guidance * (cond - uncond). 1 is none, at half the
    cost."""
    temperature: float = 1.0
    """At least 0; 0 takes the most likely token."""
    top_k: int = 0
    """At least 0; 0 keeps all tokens."""
    top_p: float = 1.0
    """Above 0, at most 1; 1 keeps all tokens."""

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < math.inf:
            raise SettingsError(f"--guidance {self.guidance:g}: it must be a number of 0 or more")
        if not 0 <= self.temperature < math.inf:
            raise SettingsError(f"--temperature {self.temperature:g}: it must be a number of 0 or more")
        if self.top_k < 0:
            raise SettingsError(f"top_k {self.top_k}: it must be 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p {self.top_p}: it must be above 0 and at most 1")

    @property
    def guided(self) -> bool:
        """Whether unconditional rows are needed."""
        return self.guidance != 1.0

    def override(self, guidance: float | None, temperature: float | None) -> "Sampling":
        """The same sampling with another guidance and temperature; None keeps a value."""
        return replace(
            self,
            guidance=self.guidance if guidance is None else float(guidance),
            temperature=self.temperature if temperature is None else float(temperature),
        )


def check_sampling(guidance: float | None, temperature: float | None) -> None:
    """Raise ``SettingsError`` for a value out of range, as ``Sampling.override`` does: before a model is loaded."""
    Sampling().override(guidance, temperature)
