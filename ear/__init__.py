"""Erase a concept from an autoregressive image model (EAR), and measure what that cost.

dataset ──pairs──▶ training pairs ──train──▶ adapter ──evaluate──▶ figures, contact sheet
                                     │  ▲
                                 objective, retention (as the recipe says)
"""
