"""Calls to LLMs, each paid once. A call names concept, split and number of its prompts; nothing here reads them.

registry.py     the LLMs: address, model, price, limits, and where the key is
calls.py        a call: everything that decides its answer
event_loop.py   runs asynchronous code, also beside a running event loop
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
