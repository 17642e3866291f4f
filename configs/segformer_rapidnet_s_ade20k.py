# mmseg's recipe for SegFormer-B0 as it is, AdamW included.
_base_ = [
    'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    '_base_/backbones/rapidnet_s.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone),
    decode_head=dict(in_channels=_base_.channels),
)
