_base_ = 'repvit_m0_9_in1k.py'

model = dict(backbone=dict(arch='m0_6'), head=dict(classifier=dict(in_channels=320)))
