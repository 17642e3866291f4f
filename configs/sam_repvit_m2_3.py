_base_ = '_base_/plugin.py'

# RepViT-SAM (arXiv 2312.05760)
model = dict(
    type='SegmentAnything',
    # The last stage keeps the stride of 16.
    backbone=dict(type='RepViT', arch='m2_3', last_stride=1, out_indices=(3,)),
    neck=dict(type='SAMNeck', in_channels=[640]),
    image_size=1024,
)
