"""Calls to LLMs: registry, clients, dispatch, ledger, budget, retries. Knows nothing of prompt pairs."""
