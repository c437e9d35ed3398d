"""Stage 3: a judge classifies the images, and pairs are accepted or rejected.

images ──stage──▶ verdicts ──acceptance──▶ accepted records ──dataset──▶ what ``ear`` trains on
                                 ▲
             accept (the rule), bounds (optional), decisions (of reviewers, ``ecgvf review``)
"""

from ecgvf.filter.acceptance import FilterResult
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.stage import filter_images

__all__ = ["Bounds", "FilterResult", "filter_images"]
