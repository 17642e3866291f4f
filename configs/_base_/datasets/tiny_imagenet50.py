# Every fourth class of Tiny-ImageNet, 50 of 200, with 500 training and 50 validation images
# of 64 pixels each, as `tools/convert_dataset.py tiny-imagenet --every 4` lays them out.
_base_ = 'shapes_cls.py'

data_root = 'data/tiny_imagenet50/'
classes = [
    'n01443537',
    'n01698640',
    'n01774384',
    'n01882714',
    'n01945685',
    'n02002724',
    'n02085620',
    'n02106662',
    'n02124075',
    'n02165456',
    'n02231487',
    'n02279972',
    'n02395406',
    'n02423022',
    'n02486410',
    'n02669723',
    'n02788148',
    'n02802426',
    'n02815834',
    'n02843684',
    'n02909870',
    'n02950826',
    'n02999410',
    'n03085013',
    'n03160309',
    'n03255030',
    'n03400231',
    'n03447447',
    'n03617480',
    'n03670208',
    'n03770439',
    'n03837869',
    'n03902125',
    'n03976657',
    'n03992509',
    'n04070727',
    'n04133789',
    'n04251144',
    'n04275548',
    'n04356056',
    'n04398044',
    'n04465501',
    'n04507155',
    'n04560804',
    'n06596364',
    'n07615774',
    'n07720875',
    'n07753592',
    'n07875152',
    'n09256479',
]
data_preprocessor = dict(num_classes=50)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.35, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
dataset = dict(data_root=data_root, classes=classes)
train_dataloader = dict(batch_size=64, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dataset)
test_dataloader = val_dataloader
