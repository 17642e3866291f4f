_base_ = '../rapidnet_ti_in1k.py'

model = dict(backbone=dict(mixer='conv3x3', cpe=False, large_kernel_ffn=False))
