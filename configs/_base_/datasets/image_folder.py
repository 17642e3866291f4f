# Images alone, at any depth of data/images, for encoders that learn from others.
data_root = 'data/images'
image_size = 1024

# Resized as by SAM's own predictor, and in RGB.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Resize',
        scale=(image_size, image_size),
        keep_ratio=True,
        backend='pillow',
    ),
    dict(type='Normalize', mean=[0.0] * 3, std=[1.0] * 3, to_rgb=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_name', 'img_shape', 'flip')),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ImageFolder', data_root=data_root, pipeline=pipeline),
)
