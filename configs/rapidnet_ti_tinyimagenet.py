# RapidNet-Ti, from scratch, telling 50 classes of Tiny-ImageNet apart on two CPU cores.
# No teacher: both classifiers learn from the labels.
_base_ = [
    '_base_/plugin_cls.py',
    '_base_/datasets/tiny_imagenet50.py',
    '_base_/schedules/shapes_cls.py',
]

max_iters = 4000

model = dict(
    type='DistilledImageClassifier',
    # Blocks that start near the identity need longer to learn from scratch.
    backbone=dict(
        type='RapidNet', arch='ti', out_indices=(3,), layer_scale_init_value=0.1
    ),
    head=dict(
        type='DistilledClsHead',
        classifier=dict(
            type='DistilledClassifier',
            in_channels=224,
            hidden_channels=512,
            num_classes=50,
        ),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        distillation='none',
    ),
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
