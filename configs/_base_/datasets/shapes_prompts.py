# The objects of Shapes without their classes, for models that are given prompts.
_base_ = 'shapes_instance.py'

image_size = 256

# Models that segment anything are given RGB images.
to_rgb = dict(type='Normalize', mean=[0.0] * 3, std=[1.0] * 3, to_rgb=True)
resize = dict(type='Resize', scale=(image_size, image_size), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    to_rgb,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
# Masks are compared in the size of the image itself.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    to_rgb,
    resize,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='PromptedIoU')
test_evaluator = val_evaluator
