# A backbone and its channels at strides 4, 8, 16 and 32, for a leaf to put before any
# head: another file of this folder puts another backbone there.
# Batch normalisation trains, across processes, as in the published dense code.
# Stochastic depth as published: one rate per block (3 + 3 + 12 + 6).
_base_ = '../plugin.py'

backbone = dict(
    type='RapidNet',
    arch='s',
    norm_cfg=dict(type='SyncBN'),
    drop_path_rate=[0.0] * 16
    + [0.0043, 0.0087]
    + [0.0130, 0.0130, 0.0130, 0.0130, 0.0174, 0.0217],
)
channels = [32, 64, 112, 224]
