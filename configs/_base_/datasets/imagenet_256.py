# As RepViT's published code has it: all interpolation is bicubic, the short edge of
# test images 256, and a process takes 256 images.
_base_ = 'imagenet.py'

train_pipeline = [
    _base_.load_image,
    dict(**_base_.random_crop, interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        **_base_.rand_augment,
        hparams=dict(pad_val=_base_.pad_val, interpolation='bicubic'),
    ),
    _base_.random_erasing,
    dict(type='PackInputs'),
]
test_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
