"""Calls to LLMs, each paid once. Knows nothing of prompt pairs.

registry.py     the LLMs: address, model, price, limits, and where the key is
calls.py        a call: everything that decides its answer
dispatch.py     all writers at once, the calls of each in order
batch.py        the same through a provider's batch endpoint, at a lower price
ledger.py       every attempt in an append-only file
attempt.py      an attempt, as the ledger keeps it
budget.py       cost estimates, and a hard limit
rate_limit.py   keeps to a provider's limits
retry.py        repeats what failed, after a wait
secrets.py      keeps keys out of files and off the screen
clients/        a client per SDK
"""
