_base_ = [
    '_base_/models/cls_repvit_m0_9.py',
    '_base_/datasets/imagenet_256.py',
    '_base_/schedules/pretrain_repvit_300e.py',
]
