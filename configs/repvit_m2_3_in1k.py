_base_ = 'repvit_m0_9_in1k.py'

model = dict(backbone=dict(arch='m2_3'), head=dict(classifier=dict(in_channels=640)))
