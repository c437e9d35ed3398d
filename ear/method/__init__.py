"""EAR: recipes, the objective, the training loop, and adapters.

dataset ──pairs──▶ training pairs ──train──▶ adapter ──runs──▶ STORE/<concept>/ear/…
                                     │  ▲
                                 objective, retention (as the recipe says)
"""
