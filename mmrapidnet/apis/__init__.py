"""What the command lines in `tools/` call: train, test, infer, analyze.

And what a program calls to segment anything.
"""

from mmrapidnet.apis.automatic_masks import AutomaticMaskGenerator
from mmrapidnet.apis.segment_anything import SegmentAnythingPredictor

__all__ = ['AutomaticMaskGenerator', 'SegmentAnythingPredictor']
