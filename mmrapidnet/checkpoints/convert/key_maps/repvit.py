"""The names in RepViT's files: the authors' (THU-MIG/RepViT) and timm's."""

from mmrapidnet.checkpoints.convert.key_maps.key_map import KeyMap, flat_index

LAST_STAGE = 3

REPVIT = KeyMap(
    backbone='RepViT',
    title='RepViT',
    signature=r'features\.\d+\.(token|channel)_mixer\.',
    stem={
        'stem.0.conv': 'features.0.0.c',
        'stem.0.norm': 'features.0.0.bn',
        'stem.1.conv': 'features.0.2.c',
        'stem.1.norm': 'features.0.2.bn',
    },
    downsample={
        'depthwise.conv': 'token_mixer.0.c',
        'depthwise.norm': 'token_mixer.0.bn',
        'pointwise.conv': 'token_mixer.2.c',
        'pointwise.norm': 'token_mixer.2.bn',
        'ffn.branch.expand.conv': 'channel_mixer.m.0.c',
        'ffn.branch.expand.norm': 'channel_mixer.m.0.bn',
        'ffn.branch.project.conv': 'channel_mixer.m.2.c',
        'ffn.branch.project.norm': 'channel_mixer.m.2.bn',
    },
    block={
        'mixer.depthwise.conv': 'token_mixer.0.conv.c',
        'mixer.depthwise.norm': 'token_mixer.0.conv.bn',
        'mixer.pointwise': 'token_mixer.0.conv1',
        'mixer.norm': 'token_mixer.0.bn',
        'se.reduce': 'token_mixer.1.fc1',
        'se.expand': 'token_mixer.1.fc2',
        'ffn.branch.expand.conv': 'channel_mixer.m.0.c',
        'ffn.branch.expand.norm': 'channel_mixer.m.0.bn',
        'ffn.branch.project.conv': 'channel_mixer.m.2.c',
        'ffn.branch.project.norm': 'channel_mixer.m.2.bn',
    },
    # The stem is number 0 of the list.
    place=lambda *block: f'features.{1 + flat_index(*block)}',
    classifier={
        'norm': 'classifier.classifier.bn',
        'head': 'classifier.classifier.l',
        'dist_norm': 'classifier.classifier_dist.bn',
        'dist_head': 'classifier.classifier_dist.l',
    },
    classifier_type='DistilledLinearClassifier',
    classifier_sizes={'num_classes': 'classifier.classifier.l.weight'},
)


def _place_in_timm(stage: int, index: int, depths: list[int]) -> str:
    """A stage's last block counts to the next stage's downsampling there."""
    if stage > 0 and index == 0:
        return f'stages.{stage}.downsample'
    if stage < LAST_STAGE and index == depths[stage] - 1:
        return f'stages.{stage + 1}.downsample.pre_block'
    return f'stages.{stage}.blocks.{index - (stage > 0)}'


TIMM_REPVIT = KeyMap(
    backbone='RepViT',
    title="timm's RepViT",
    signature=r'stages\.\d+\.(blocks\.\d+|downsample\.pre_block)\.token_mixer\.',
    stem={
        'stem.0.conv': 'stem.conv1.c',
        'stem.0.norm': 'stem.conv1.bn',
        'stem.1.conv': 'stem.conv2.c',
        'stem.1.norm': 'stem.conv2.bn',
    },
    downsample={
        'depthwise.conv': 'spatial_downsample.c',
        'depthwise.norm': 'spatial_downsample.bn',
        'pointwise.conv': 'channel_downsample.c',
        'pointwise.norm': 'channel_downsample.bn',
        'ffn.branch.expand.conv': 'ffn.conv1.c',
        'ffn.branch.expand.norm': 'ffn.conv1.bn',
        'ffn.branch.project.conv': 'ffn.conv2.c',
        'ffn.branch.project.norm': 'ffn.conv2.bn',
    },
    block={
        'mixer.depthwise.conv': 'token_mixer.conv.c',
        'mixer.depthwise.norm': 'token_mixer.conv.bn',
        'mixer.pointwise': 'token_mixer.conv1',
        'mixer.norm': 'token_mixer.bn',
        'se.reduce': 'se.fc1',
        'se.expand': 'se.fc2',
        'ffn.branch.expand.conv': 'channel_mixer.conv1.c',
        'ffn.branch.expand.norm': 'channel_mixer.conv1.bn',
        'ffn.branch.project.conv': 'channel_mixer.conv2.c',
        'ffn.branch.project.norm': 'channel_mixer.conv2.bn',
    },
    place=_place_in_timm,
    classifier={
        'norm': 'head.head.bn',
        'head': 'head.head.l',
        'dist_norm': 'head.head_dist.bn',
        'dist_head': 'head.head_dist.l',
    },
    classifier_type=REPVIT.classifier_type,
    classifier_sizes={'num_classes': 'head.head.l.weight'},
)
