# For small images on two CPU cores: RapidNet-Ti, with 64 channels in neck and head.
_base_ = 'semfpn_rapidnet_s.py'

model = dict(
    backbone=dict(
        arch='ti',
        norm_cfg=dict(type='BN'),
        drop_path_rate=0.0,
        # Blocks that start near the identity need longer to learn from scratch.
        layer_scale_init_value=0.1,
    ),
    neck=dict(out_channels=64),
    decode_head=dict(
        in_channels=[64, 64, 64, 64], channels=64, norm_cfg=dict(type='BN')
    ),
)
