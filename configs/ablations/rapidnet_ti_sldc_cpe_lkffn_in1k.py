_base_ = '../rapidnet_ti_in1k.py'

model = dict(backbone=dict(mixer='single_level', cpe=True, large_kernel_ffn=True))
