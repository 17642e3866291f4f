# RapidNet-Ti as the encoder, from scratch.
_base_ = 'sam_repvit_m0_6_shapes.py'

model = dict(
    # Blocks that start near the identity need longer to learn from scratch.
    backbone=dict(
        _delete_=True,
        type='RapidNet',
        arch='ti',
        out_indices=(2, 3),
        layer_scale_init_value=0.1,
    ),
    neck=dict(in_channels=[112, 224]),
)
