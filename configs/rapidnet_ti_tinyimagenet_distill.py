# As rapidnet_ti_tinyimagenet, but half of the loss is a teacher's: EfficientNet-Lite0,
# trained on ImageNet-1k.  docs/pretraining.md says where its weights are had.
_base_ = 'rapidnet_ti_tinyimagenet.py'

# The numbers of the classes in ImageNet-1k: their places among its 1000 WordNet ids in
# order (timm.data.ImageNetInfo).
imagenet_numbers = {
    'n01443537': 1,
    'n01698640': 50,
    'n01774384': 75,
    'n01882714': 105,
    'n01945685': 114,
    'n02002724': 128,
    'n02085620': 151,
    'n02106662': 235,
    'n02124075': 285,
    'n02165456': 301,
    'n02231487': 313,
    'n02279972': 323,
    'n02395406': 341,
    'n02423022': 353,
    'n02486410': 372,
    'n02669723': 400,
    'n02788148': 421,
    'n02802426': 430,
    'n02815834': 438,
    'n02843684': 448,
    'n02909870': 463,
    'n02950826': 471,
    'n02999410': 488,
    'n03085013': 508,
    'n03160309': 525,
    'n03255030': 543,
    'n03400231': 567,
    'n03447447': 576,
    'n03617480': 614,
    'n03670208': 627,
    'n03770439': 655,
    'n03837869': 682,
    'n03902125': 707,
    'n03976657': 733,
    'n03992509': 739,
    'n04070727': 760,
    'n04133789': 774,
    'n04251144': 801,
    'n04275548': 815,
    'n04356056': 837,
    'n04398044': 849,
    'n04465501': 866,
    'n04507155': 879,
    'n04560804': 899,
    'n06596364': 917,
    'n07615774': 929,
    'n07720875': 945,
    'n07753592': 954,
    'n07875152': 964,
    'n09256479': 973,
}
model = dict(
    head=dict(distillation='hard'),
    teacher=dict(
        type='TimmClassifier',
        model_name='tf_efficientnet_lite0',
        checkpoint='data/efficientnet_lite0.pth',
        # The file is of another implementation, which has other names.
        remap=True,
        # As it was trained (MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py).
        data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3, to_rgb=True),
        # Its top-1 of the 50 classes on the validation images at 96, 128, 160 and 192
        # pixels is 60.8, 66.6, 72.3 and 72.8 %, for 0.07, 0.13, 0.20 and 0.29 GMACs.
        image_size=160,
        classes=list(imagenet_numbers.values()),
    ),
)
