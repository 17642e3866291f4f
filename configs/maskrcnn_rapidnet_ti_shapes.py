# Mask R-CNN small enough to learn Shapes on two CPU cores, from a backbone that already
# knows them: --pretrained a checkpoint of semfpn_rapidnet_ti_shapes.
_base_ = [
    '_base_/models/maskrcnn_rapidnet_ti_64.py',
    '_base_/datasets/shapes_instance.py',
    'mmdet::_base_/default_runtime.py',
    '_base_/schedules/shapes.py',
]

max_iters = 700

model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[6])),
    roi_head=dict(bbox_head=dict(num_classes=6), mask_head=dict(num_classes=6)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=96)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
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
