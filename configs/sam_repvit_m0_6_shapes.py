# Segment anything, small enough to learn Shapes on two CPU cores, from a backbone that
# already knows them: --pretrained a checkpoint of semfpn_repvit_m0_6_shapes.
_base_ = [
    '_base_/models/sam_repvit_m0_6.py',
    '_base_/datasets/shapes_prompts.py',
    'mmdet::_base_/default_runtime.py',
    '_base_/schedules/shapes.py',
]

max_iters = 3000

model = dict(
    image_size=256,
    # With SAM's own 1 and a `focal_weight` of 20 the first 200 iterations find nothing:
    # prompts tell places apart too finely, and the focal loss asks for empty masks.
    position_scale=0.5,
    train_cfg=dict(
        objects_per_image=4,
        box_prob=0.7,
        box_noise=0.02,
        corrections=(0, 2),
        refinements=0,
        innermost=0.5,
        focal_weight=2.0,
    ),
)

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
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
