"""Attacks on a tuned model: does the concept come back, and at what budget?

examples (prompts and images of the concept) ──fit (steps of an ``Attack``)──▶ FittedAttack ──▶ images under attack

Each attack is a file with the interface of ``attack``; ``kinds`` lists them. Attacks see training pairs only, never the
prompts that are measured.
"""
