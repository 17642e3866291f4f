_base_ = [
    'sam_repvit_m2_3.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
]
# The boxes are those of a COCO result file. Instead, with --cfg-options,
# - of a detector: model.boxes=None model.detector=CONFIG model.detector_checkpoint=FILE
# - of the ground truth: model.boxes=gt
model = dict(
    _delete_=True,
    type='PromptedInstanceSegmentor',
    segmenter=_base_.model,
    detector=None,
    detector_checkpoint=None,
    boxes='data/coco/detections_val2017.json',
    ann_file=_base_.test_evaluator.ann_file,
)
# The model resizes.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')
    ),
]
train_dataloader = None
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
