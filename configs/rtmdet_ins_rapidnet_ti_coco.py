# For a phone: mmdet's recipe for RTMDet-Ins-tiny as it is, AdamW included, with 64
# channels after the backbone instead of 96, on images in RGB.
_base_ = [
    'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    '_base_/backbones/rapidnet_ti.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(_delete_=True, out_indices=(1, 2, 3), **_base_.backbone),
    neck=dict(in_channels=_base_.channels[1:], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64),
)
