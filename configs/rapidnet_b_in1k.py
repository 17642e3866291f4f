_base_ = 'rapidnet_s_in1k.py'

model = dict(
    backbone=dict(arch='b'),
    head=dict(classifier=dict(in_channels=416, hidden_channels=768)),
)
