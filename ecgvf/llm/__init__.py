"""LLMs behind one interface: clients, dispatch, ledger, budget, retries. Knows nothing of prompt pairs."""
