"""Memorisation: images of different prompts that are nearly the same (section 6.4 of the paper).

Images with and without ``<|startoftext|>`` in the prompt are compared, before and after erasing. It is a token of CLIP,
which published lists of prompts contain, and plain text to Janus.

prompts ──images──▶ groups ──near_duplicates──▶ clusters ──report──▶ table, sheet
"""

from ear.memorisation.analysis import analyse, check_bounds
from ear.memorisation.images import ImageGroup, adapter_groups, folder_groups
from ear.memorisation.report import file_name, table, write_sheet

__all__ = [
    "ImageGroup",
    "adapter_groups",
    "analyse",
    "check_bounds",
    "file_name",
    "folder_groups",
    "table",
    "write_sheet",
]
