# ImageNet-1K: data/imagenet/{train,val} with one folder per class, or with all images
# and mmpretrain's meta/{train,val}.txt beside them.
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
bgr_mean = data_preprocessor['mean'][::-1]
bgr_std = data_preprocessor['std'][::-1]

# Pillow reads (without turning by EXIF) and resizes, as in the published code.
load_image = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)
random_crop = dict(type='RandomResizedCrop', scale=224, backend='pillow')
# timm's rand-m9-mstd0.5-inc1.  With it timm leaves out the colour jitter of 0.4 that
# the published code names, too: there is none here.
rand_augment = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    magnitude_level=9,
    magnitude_std=0.5,
)
pad_val = [round(value) for value in bgr_mean]
# 'Pixel' mode: normal noise of the statistics of the images.
random_erasing = dict(
    type='RandomErasing',
    erase_prob=0.25,
    mode='rand',
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=bgr_mean,
    fill_std=bgr_std,
)
# RapidNet and MobileViG draw the interpolation.
train_pipeline = [
    load_image,
    dict(
        type='RandomChoice',
        transforms=[
            [dict(**random_crop, interpolation='bilinear')],
            [dict(**random_crop, interpolation='bicubic')],
        ],
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomChoice',
        transforms=[
            [
                dict(
                    **rand_augment,
                    hparams=dict(pad_val=pad_val, interpolation='bilinear'),
                )
            ],
            [
                dict(
                    **rand_augment,
                    hparams=dict(pad_val=pad_val, interpolation='bicubic'),
                )
            ],
        ],
    ),
    random_erasing,
    dict(type='PackInputs'),
]
# Their crop ratio is 0.9: the short edge is floor(224 / 0.9).
test_pipeline = [
    load_image,
    dict(
        type='ResizeEdge',
        scale=248,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    # An epoch is a third of the images, each three times.
    sampler=dict(type='RepeatAugSampler', shuffle=True, num_repeats=3),
    dataset=dict(
        type='ImageNet',
        data_root='data/imagenet/',
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageNet',
        data_root='data/imagenet/',
        split='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
