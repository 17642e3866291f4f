_base_ = 'repvit_m0_9_in1k.py'

model = dict(backbone=dict(arch='m1_0'), head=dict(classifier=dict(in_channels=448)))
