_base_ = [
    '_base_/models/cls_repvit_m0_9.py',
    '_base_/datasets/imagenet_256.py',
    'mmpretrain::_base_/default_runtime.py',
]
