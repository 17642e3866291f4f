_base_ = [
    '_base_/models/semfpn_rapidnet_s.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=(512, 512)))
