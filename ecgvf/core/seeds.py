"""Seeds: a hash of (run seed, record, purpose) and of nothing else, such as order, batch, worker or engine.

So a record's image is the same whichever process renders it, and whenever.
"""

import hashlib
import json
from collections.abc import Sequence


def derive(run_seed: int, record_id: str, purpose: str) -> int:
    """Seed in [0, 2**63) for ``record_id`` in the run ``run_seed``, for ``purpose`` ("render", "evaluate", ...).

    Both roles of a pair have one record id, and so one seed of purpose "render": identical generative priors.
    """
    return _hashed([run_seed, record_id, purpose])


def derive_many(run_seed: int, record_ids: Sequence[str], purpose: str) -> list[int]:
    """``derive`` for each of ``record_ids``, in their order."""
    return [derive(run_seed, record_id, purpose) for record_id in record_ids]


def _hashed(parts: list[int | str]) -> int:
    # JSON separates the parts: ("1", "2x") and ("12", "x") must not collide.
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
