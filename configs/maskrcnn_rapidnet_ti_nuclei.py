# Mask R-CNN for nuclei, from scratch on two CPU cores: small anchors, and room for the 375
# objects that an image of the whole set can have. With --pretrained from a classifier of
# rapidnet_ti_tinyimagenet.
_base_ = [
    '_base_/models/maskrcnn_rapidnet_ti_64.py',
    '_base_/datasets/nuclei.py',
    'mmdet::_base_/default_runtime.py',
    '_base_/schedules/shapes.py',
]

max_iters = 600

# From 12 to 271 pixels. Of the nuclei at the scale of testing 98.5 % overlap one of these
# anchors by an IoU of 0.5 and 55 % by 0.7; of a single scale of 4, 93 % and 31 %.
anchor_scales = [3.0, 4.24]
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=anchor_scales)),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    train_cfg=dict(
        # A crop holds 9 nuclei in the median, 38 in one of twenty, 108 at the most.
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1000), rcnn=dict(max_per_img=500)),
)

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters),
]
log_processor = dict(by_epoch=False, window_size=25)
default_hooks = dict(
    logger=dict(interval=25, log_metric_by_epoch=False),
    # Two are kept, so that one is whole whenever a run is stopped.
    checkpoint=dict(by_epoch=False, interval=max_iters // 4, max_keep_ckpts=2),
)
