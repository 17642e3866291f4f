_base_ = [
    '_base_/models/cls_rapidnet_ti.py',
    '_base_/datasets/imagenet.py',
    'mmpretrain::_base_/default_runtime.py',
]
