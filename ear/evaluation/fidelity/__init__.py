"""The paper's Table 1: FID, KID and CLIP score of images of general captions, before and after erasing.

captions ──images──▶ images before, after ─┐
pictures ──────────────────────────────────┴─features (encoders)──▶ feature sets ──figures──▶ FID, KID, CLIP score

Features are kept in the store and read a shard at a time: the memory needed does not grow with the number of images.
"""
