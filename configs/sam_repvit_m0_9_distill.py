# RepViT-M0.9 learns the image embeddings of SAM's ViT-H over the images in data/images.
# The file of the teacher's weights (sam_vit_h_4b8939.pth of segment-anything):
#   --cfg-options model.teacher.checkpoint=FILE
# or its embeddings, once tools/embed_images.py has written them:
#   --cfg-options model.embeddings=DIR
# MobileSAM's and RepViT-SAM's decoupled distillation; neither has published the code of
# its training, so rates, lengths and the lack of augmentation are this project's choice.
_base_ = [
    '_base_/plugin.py',
    '_base_/datasets/image_folder.py',
    '_base_/schedules/adamw_8e.py',
]

model = dict(
    type='DistilledSegmentAnything',
    backbone=dict(type='RepViT', arch='m0_9', last_stride=1, out_indices=(3,)),
    neck=dict(type='SAMNeck', in_channels=[384]),
    image_size=1024,
    teacher=dict(
        type='SegmentAnything',
        backbone=dict(type='SAMViT', arch='h', image_size=1024),
        neck=dict(type='SAMNeck', in_channels=[1280]),
        image_size=1024,
        checkpoint=None,
    ),
    embeddings=None,
)
