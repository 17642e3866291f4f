"""The old name of `mmrapidnet.engine.loops`."""

from mmrapidnet.engine.loops import (
    Batches,
    Draw,
    EndlessBatches,
    RepeatableEpochLoop,
    RepeatableIterLoop,
    RepeatableLoader,
    SeededDataset,
    seed_generators,
)
from mmrapidnet.utils.deprecation import warn_renamed

__all__ = [
    'Batches',
    'Draw',
    'EndlessBatches',
    'RepeatableEpochLoop',
    'RepeatableIterLoop',
    'RepeatableLoader',
    'SeededDataset',
    'seed_generators',
]

warn_renamed(__name__, 'mmrapidnet.engine.loops')
