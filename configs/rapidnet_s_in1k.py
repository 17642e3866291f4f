# Stochastic depth as published: one rate per block (3 + 3 + 12 + 6).
_base_ = 'rapidnet_ti_in1k.py'

drop_path_rate = [0.0] * 16 + [0.0043, 0.0087] + [0.0130] * 4 + [0.0174, 0.0217]
model = dict(backbone=dict(arch='s', drop_path_rate=drop_path_rate))
