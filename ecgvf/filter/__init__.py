"""Stage 3: judges look at the images, and pairs are accepted or rejected.

images ──stage──▶ verdicts ──decide──▶ acceptance ──dataset──▶ what ``ear`` trains on
                               ▲
                  accept (the rule), bounds (optional), decisions (of people, by ``ecgvf review``)
"""

from ecgvf.filter.bounds import Bounds
from ecgvf.filter.decide import FilterResult
from ecgvf.filter.stage import filter_images

__all__ = ["Bounds", "FilterResult", "filter_images"]
