_base_ = 'mobilevig_ti_in1k.py'

model = dict(
    backbone=dict(arch='b'),
    head=dict(classifier=dict(in_channels=464, hidden_channels=768)),
)
