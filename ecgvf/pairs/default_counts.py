"""How many prompts are written by default. The commands and the API share these numbers."""

OFFLINE_PAIRS = 60
"""Training pairs of the offline writer."""

PROMPTS_PER_CALL = 10
"""Pairs or prompts that a call requests, as in the paper (section 5.1)."""

ITERATIONS = 3
"""Calls to each LLM for training pairs, as in the paper (section 5.1)."""

VALIDATION_PROMPTS = 100
TEST_PROMPTS = 100

RETAINED_PROMPTS = 5
"""Prompts of each retained concept, which has as many captions."""

ACCEPTED_PAIRS = 50
"""Training pairs that a build accepts."""

ROUNDS = 10
"""Rounds of a build, at most."""
