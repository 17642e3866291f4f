_base_ = 'rapidnet_s_in1k.py'

model = dict(backbone=dict(arch='m'), head=dict(classifier=dict(in_channels=320)))
