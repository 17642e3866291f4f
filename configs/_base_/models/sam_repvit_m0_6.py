# A small encoder: the backbone's maps of stride 16 and 32.
_base_ = '../plugin_sam.py'

model = dict(
    type='SegmentAnything',
    backbone=dict(type='RepViT', arch='m0_6', out_indices=(2, 3)),
    neck=dict(type='SAMNeck', in_channels=[160, 320]),
)
# Not every iteration has prompts of each kind.
find_unused_parameters = True
