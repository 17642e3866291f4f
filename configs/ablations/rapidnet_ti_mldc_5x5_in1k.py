# The paper does not say which of the branches is 5x5: here that of dilation 2.
_base_ = '../rapidnet_ti_in1k.py'

model = dict(backbone=dict(mixer_kernel_sizes=(5, 3)))
