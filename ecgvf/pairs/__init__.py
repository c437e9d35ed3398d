"""Stage 1: a concept becomes target/surrogate pairs, for training and for evaluation.

writer (offline, or LLMs by templates) → answers (parsing, checks) → generate → set of ``PromptPair``
record_files → tables → importing → the same
"""
