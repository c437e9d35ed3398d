"""Attacks on a tuned model: does the concept come back, and at what budget?

examples (prompts and images of the concept) ──fit (steps of an ``Attack``)──▶ FittedAttack ──▶ images under attack

One file per attack, one interface (``attack``); ``kinds`` lists them. An attack sees training pairs alone: the prompts
that are reported are not among them.
"""
