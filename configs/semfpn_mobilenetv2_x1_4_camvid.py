# For the comparison on CamVid: all alike but for the backbone.
_base_ = 'semfpn_rapidnet_ti_camvid.py'

custom_imports = dict(
    imports=['mmrapidnet', 'mmrapidnet.compat.patch_all', 'mmpretrain.models']
)
# `conv2`, which is always built, serves no tap.
find_unused_parameters = True
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        widen_factor=1.4,
        out_indices=(1, 2, 4, 6),
    ),
    neck=dict(in_channels=[32, 48, 136, 448]),
)
