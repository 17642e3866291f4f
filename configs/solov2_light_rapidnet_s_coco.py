# mmdet's recipe with RapidNet's optimizer.
_base_ = [
    'mmdet::solov2/solov2-light_r50_fpn_ms-3x_coco.py',
    '_base_/backbones/rapidnet_s.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone),
    neck=dict(in_channels=_base_.channels),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05)
)
