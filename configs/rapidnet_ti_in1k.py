_base_ = [
    '_base_/models/cls_rapidnet_ti.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/pretrain_300e.py',
]
