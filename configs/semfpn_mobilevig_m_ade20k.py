# RapidNet's recipe: no config of MobileViG for segmentation is published.
_base_ = [
    '_base_/models/semfpn_mobilevig_m.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=(512, 512)))
