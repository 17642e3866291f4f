"""The names in the files that MobileViG's authors publish (SLDGroup/MobileViG)."""

from mmrapidnet.checkpoints.convert.key_maps.key_map import KeyMap, flat_index
from mmrapidnet.checkpoints.convert.key_maps.rapidnet import RAPIDNET

LAST_STAGE = 3


def _place(stage: int, index: int, depths: list[int]) -> str:
    """All blocks but the graph blocks of the last stage are in one flat list."""
    if stage == LAST_STAGE and index > 0:
        return f'backbone.{index - 1}'
    return f'local_backbone.{flat_index(stage, index, depths)}'


MOBILEVIG = KeyMap(
    backbone='MobileViG',
    title='MobileViG',
    signature=r'local_backbone\.',
    stem=RAPIDNET.stem,
    downsample=RAPIDNET.downsample,
    block={
        # Local blocks
        'scale': 'layer_scale_2',
        'branch.expand.conv': 'mlp.fc1',
        'branch.expand.norm': 'mlp.norm1',
        'branch.depthwise.conv': 'mlp.mid',
        'branch.depthwise.norm': 'mlp.mid_norm',
        'branch.project.conv': 'mlp.fc2',
        'branch.project.norm': 'mlp.norm2',
        # Graph blocks
        'mixer.branch.proj_in.conv': '0.fc1.0',
        'mixer.branch.proj_in.norm': '0.fc1.1',
        'mixer.branch.graph_conv.conv': '0.graph_conv.nn.0',
        'mixer.branch.graph_conv.norm': '0.graph_conv.nn.1',
        'mixer.branch.proj_out.conv': '0.fc2.0',
        'mixer.branch.proj_out.norm': '0.fc2.1',
        'ffn.branch.expand.conv': '1.fc1.0',
        'ffn.branch.expand.norm': '1.fc1.1',
        'ffn.branch.project.conv': '1.fc2.0',
        'ffn.branch.project.norm': '1.fc2.1',
    },
    place=_place,
    classifier=RAPIDNET.classifier,
    classifier_type=RAPIDNET.classifier_type,
    classifier_sizes=RAPIDNET.classifier_sizes,
)
