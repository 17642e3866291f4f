# Shapes in ADE20K's layout, as `tools/make_shapes.py data/shapes` writes it:
# 0 is unlabelled (the outlines), 1 the background, then the classes.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

dataset_type = 'BaseSegDataset'
data_root = 'data/shapes/ade/'
metainfo = dict(
    classes=(
        'background',
        'disc',
        'square',
        'triangle',
        'star',
        'ring',
        'cross',
    ),
    palette=[
        (120, 120, 120),
        (220, 60, 60),
        (220, 200, 50),
        (70, 190, 80),
        (60, 190, 200),
        (70, 90, 220),
        (200, 80, 200),
    ],
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='RandomFlip', prob=[0.5, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type=dataset_type,
    data_root=data_root,
    metainfo=metainfo,
    reduce_zero_label=True,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(**dataset, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        **dataset,
        pipeline=test_pipeline,
        indices=None,  # a number for the first so many images
    ),
)
test_dataloader = val_dataloader
