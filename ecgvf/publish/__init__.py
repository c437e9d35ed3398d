"""Stage 4: a run becomes a dataset that others can load, cite, gate and extend.

FinishedRun ──rows──▶ parquet ──▶ export: a folder with card, ecgvf.json, Croissant and contact sheet
                         │
                         └──────▶ push: one commit on the Hub, then a tag ──▶ versions, diff

DatasetFolder reads a published dataset back, for ``ear``.
"""
