# The encoder of sam_rapidnet_ti_shapes learns the image embeddings of the model that
# sam_repvit_m0_6_shapes.py has trained, whose decoder it takes:
#   --cfg-options model.teacher.checkpoint=FILE
_base_ = ['sam_rapidnet_ti_shapes.py']

model = dict(
    type='DistilledSegmentAnything',
    teacher=dict(
        type='SegmentAnything',
        backbone=dict(type='RepViT', arch='m0_6', out_indices=(2, 3)),
        neck=dict(type='SAMNeck', in_channels=[160, 320]),
        image_size=256,
        checkpoint=None,
    ),
    # Instead of the teacher, without flips: what tools/embed_images.py wrote.
    embeddings=None,
)
# Flipped as where the objects are learnt, so that both see the same images.
pipeline = [
    dict(type='LoadImageFromFile'),
    _base_.to_rgb,
    _base_.resize,
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_name', 'img_shape', 'flip')),
]
train_dataloader = dict(
    batch_sampler=None,  # the sizes of the images are not known before they are read
    dataset=dict(
        _delete_=True,
        type='ImageFolder',
        data_root=_base_.data_root,
        data_prefix=dict(img_path='train2017/'),
        pipeline=pipeline,
    ),
)
