# The published schedule ends at 1e-6 instead of 0.
_base_ = [
    '_base_/models/semfpn_repvit_m1_1.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(data_preprocessor=dict(size=(512, 512)))

param_scheduler = _base_.param_scheduler
param_scheduler[0]['eta_min'] = 1e-6
