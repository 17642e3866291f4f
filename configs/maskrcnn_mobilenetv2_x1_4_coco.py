# Not from a published config: RapidNet's recipe around mmpretrain's MobileNetV2.
_base_ = [
    '_base_/models/maskrcnn_mobilenetv2_x1_4.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]
