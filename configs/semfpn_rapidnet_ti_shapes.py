# Semantic FPN small enough to learn Shapes from scratch on two CPU cores.
_base_ = [
    '_base_/models/semfpn_rapidnet_ti_64.py',
    '_base_/datasets/shapes_semantic.py',
    'mmseg::_base_/default_runtime.py',
    '_base_/schedules/shapes_seg.py',
]

max_iters = 440

model = dict(
    data_preprocessor=dict(size=(192, 192)),
    decode_head=dict(num_classes=7),
)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters),
]
log_processor = dict(window_size=25)
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
