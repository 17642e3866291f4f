# Nuclei of the 2018 Data Science Bowl: the fluorescence images of at most 360 pixels, 300
# to train on and 80 held out, as `tools/convert_dataset.py nuclei` lays them out.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

data_root = 'data/nuclei/'
metainfo = dict(classes=('nucleus',), palette=[(220, 60, 60)])

# The largest images hardly grow, the smallest by half.
image_scale = (384, 384)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomResize', scale=image_scale, ratio_range=(0.7, 1.5), keep_ratio=True
    ),
    dict(type='RandomCrop', crop_size=(320, 320)),
    dict(type='RandomFlip', prob=[0.25, 0.5], direction=['vertical', 'horizontal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
