"""EAR: recipes, the objective, the training loop, and adapters.

erase    ──pairs, retention──▶ train ──training_rounds──▶ steps, round by round ──▶ adapter ──▶ runs, on disk
steps    rollout ──teacher──▶ objective (+ retention) ──▶ state.step

recipe, recipes         every setting, and the named combinations of settings
tuned, lora             the modules that an adapter changes
facts                   what an adapter's file says of it
several, cost           datasets of several concepts in one; what `ear train --dry-run` counts
released…               the released loop, and its weights
prompt_recipes, oracle  stand in for an adapter; open_adapter opens all three
"""
