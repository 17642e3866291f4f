# As shapes.py; mmpretrain's runtime, which names a seed as well, below it.
_base_ = 'mmpretrain::_base_/default_runtime.py'

train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
)
randomness = dict(seed=0)
