_base_ = [
    '_base_/models/maskrcnn_mobilevig_m.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]
