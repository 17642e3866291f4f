# RapidNet-Ti itself, spelt out.
_base_ = '../rapidnet_ti_in1k.py'

model = dict(
    backbone=dict(
        mixer='multi_level',
        mixer_kernel_sizes=(3, 3),
        mixer_dilations=(2, 3),
        cpe=True,
        large_kernel_ffn=True,
    )
)
