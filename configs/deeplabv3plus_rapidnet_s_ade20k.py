# The widths are mmseg's for ResNet-18.  Its rates are for maps at stride 8; these, at
# stride 32, reach as far.
_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    'mmseg::_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_160k.py',
    'mmseg::_base_/default_runtime.py',
    '_base_/backbones/rapidnet_s.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.backbone),
    decode_head=dict(
        in_channels=_base_.channels[3],
        channels=128,
        dilations=(1, 3, 6, 9),
        c1_in_channels=_base_.channels[0],
        c1_channels=12,
        num_classes=150,
    ),
    auxiliary_head=dict(in_channels=_base_.channels[2], channels=64, num_classes=150),
)
