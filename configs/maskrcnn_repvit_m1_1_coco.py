_base_ = [
    '_base_/models/maskrcnn_repvit_m1_1.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]
