# mmpose's recipe for RTMPose-s as it is, AdamW included; it needs mmpose, whose own
# tools train it.
_base_ = [
    'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py',
    '_base_/backbones/rapidnet_s.py',
]

model = dict(
    backbone=dict(_delete_=True, out_indices=(3,), **_base_.backbone),
    head=dict(in_channels=_base_.channels[3]),
)
