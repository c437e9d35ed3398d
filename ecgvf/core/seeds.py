"""Seeds: a hash of (run seed, record, purpose), which does not depend on order, batch, worker or engine.

So a record's image is the same whichever process renders it, and whenever.
"""

import hashlib
import json

from ecgvf.core.errors import SettingsError


def derive(run_seed: int, record_id: str, purpose: str) -> int:
    """Seed in [0, 2**63) for ``record_id`` in the run ``run_seed``, for ``purpose`` ("render", "evaluate", ...).

    Both roles of a pair have one record id, and so one seed of purpose "render": identical generative priors.
    """
    # JSON separates the parts: ("1", "2x") and ("12", "x") must not collide.
    parts = json.dumps([run_seed, record_id, purpose], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(parts.encode()).digest()[:8], "big") >> 1


def check_seed(seed: int, option: str = "--seed") -> int:
    """``seed`` itself. Raises ``SettingsError``, which names ``option``, unless it is a whole number in [0, 2**63)."""
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SettingsError(f"{option} {seed!r}: it must be a whole number from 0 up, below 2**63")
    return seed
