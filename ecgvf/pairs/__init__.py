"""Stage 1: a concept becomes target/surrogate prompt pairs and test prompts.

grammar → writers → checks → generate
"""
