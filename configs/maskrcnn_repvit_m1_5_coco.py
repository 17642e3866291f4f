_base_ = 'maskrcnn_repvit_m1_1_coco.py'

model = dict(backbone=dict(arch='m1_5'))
