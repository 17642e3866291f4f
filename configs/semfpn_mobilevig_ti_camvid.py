# For the comparison on CamVid: all alike but for the backbone.
_base_ = 'semfpn_rapidnet_ti_camvid.py'

model = dict(
    # The layer scale as RapidNet's there.
    backbone=dict(
        _delete_=True, type='MobileViG', arch='ti', layer_scale_init_value=0.1
    ),
    neck=dict(in_channels=[42, 84, 168, 256]),
)
