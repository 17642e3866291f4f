# RapidNet-Ti, from scratch, telling 50 classes of Tiny-ImageNet apart on two CPU cores.
_base_ = [
    '_base_/models/cls_rapidnet_ti_labels.py',
    '_base_/datasets/tiny_imagenet50.py',
    '_base_/schedules/shapes_cls.py',
]

max_iters = 4000

model = dict(
    head=dict(
        classifier=dict(num_classes=50),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    )
)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters),
]
log_processor = dict(by_epoch=False, window_size=50)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    # Two are kept, so that one is whole whenever a run is stopped.
    checkpoint=dict(by_epoch=False, interval=max_iters // 8, max_keep_ckpts=2),
)
