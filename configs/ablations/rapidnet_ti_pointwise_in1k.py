_base_ = '../rapidnet_ti_in1k.py'

model = dict(backbone=dict(mixer='pointwise', cpe=False, large_kernel_ffn=False))
