"""Stage 4: a run of the store becomes a dataset that others can load, cite, gate and extend.

run ──▶ rows ──▶ export ──▶ a folder: CONCEPT/train-….parquet, CONCEPT-rejected/…, README.md, ecgvf.json
                    │
                    ▼
                   push ──▶ one commit on the Hub, then a tag ──▶ versions, diff
                                                                      │
importing ◀── tables ◀── somebody's CSV, JSON, Parquet     published ◀┘ ──▶ ear
"""
