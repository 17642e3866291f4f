# For small images on two CPU cores: RapidNet-Ti, with 64 channels in neck and heads.
_base_ = 'maskrcnn_rapidnet_s.py'

# Two samples a bin instead of as many as pixels: the objects are small.
roi_layer = dict(sampling_ratio=2)
model = dict(
    backbone=dict(
        arch='ti',
        norm_cfg=dict(type='BN'),
        drop_path_rate=0.0,
        # Blocks that start near the identity need longer to learn from scratch.
        layer_scale_init_value=0.1,
    ),
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=roi_layer),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=64, roi_layer=roi_layer),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64),
    ),
)
