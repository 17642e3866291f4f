# mmdet's recipe as it is, AdamW included, for masks of objects.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    '_base_/backbones/rapidnet_s.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone),
    panoptic_head=dict(in_channels=_base_.channels),
)
