# Not from a published config: RapidNet's recipe around mmpretrain's MobileNetV2.
_base_ = [
    '_base_/models/semfpn_mobilenetv2_x1_4.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=(512, 512)))
