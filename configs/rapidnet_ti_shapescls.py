# RapidNet-Ti, from scratch, telling twelve kinds of objects apart on two CPU cores.
_base_ = [
    '_base_/models/cls_rapidnet_ti_labels.py',
    '_base_/datasets/shapes_cls.py',
    '_base_/schedules/shapes_cls.py',
]

max_iters = 1200

model = dict(head=dict(classifier=dict(num_classes=12)))

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters),
]
log_processor = dict(by_epoch=False, window_size=25)
default_hooks = dict(
    logger=dict(interval=25, log_metric_by_epoch=False),
    # Two are kept, so that one is whole whenever a run is stopped.
    checkpoint=dict(by_epoch=False, interval=max_iters // 4, max_keep_ckpts=2),
)
