"""The names in the files that RapidNet's authors publish (SLDGroup/RapidNet)."""

from mmrapidnet.checkpoints.convert.key_maps.key_map import KeyMap

RAPIDNET = KeyMap(
    backbone='RapidNet',
    title='RapidNet',
    signature=r'stem\.stem\.',
    stem={
        'stem.0.conv': 'stem.stem.0',
        'stem.0.norm': 'stem.stem.1',
        'stem.1.conv': 'stem.stem.3',
        'stem.1.norm': 'stem.stem.4',
    },
    downsample={'conv': 'conv.0', 'norm': 'conv.1'},
    block={
        # Local blocks
        'scale': 'layer_scale_1',
        'branch.expand.conv': 'dws.pw1',
        'branch.expand.norm': 'dws.norm1',
        'branch.depthwise.conv': 'dws.dw',
        'branch.depthwise.norm': 'dws.norm2',
        'branch.project.conv': 'dws.pw2',
        'branch.project.norm': 'dws.norm3',
        # Global blocks
        'mixer.scale': 'layer_scale_1',
        'mixer.branch.cpe.conv': 'mixer.cpe.pe',
        'mixer.branch.proj_in.conv': 'mixer.fc1.0',
        'mixer.branch.proj_in.norm': 'mixer.fc1.1',
        'mixer.branch.branches.0.conv': 'mixer.graph_conv.nn.0',
        'mixer.branch.branches.0.norm': 'mixer.graph_conv.nn.1',
        'mixer.branch.branches.1.conv': 'mixer.graph_conv.nn_2.0',
        'mixer.branch.branches.1.norm': 'mixer.graph_conv.nn_2.1',
        'mixer.branch.proj_out.conv': 'mixer.fc2.0',
        'mixer.branch.proj_out.norm': 'mixer.fc2.1',
        'ffn.scale': 'layer_scale_2',
        'ffn.branch.depthwise.conv': 'ffn.conv.conv',
        'ffn.branch.depthwise.norm': 'ffn.norm1',
        'ffn.branch.expand.conv': 'ffn.fc1',
        'ffn.branch.expand.norm': 'ffn.norm2',
        'ffn.branch.project.conv': 'ffn.fc2',
        'ffn.branch.project.norm': 'ffn.norm3',
    },
    place=lambda stage, index, depths: f'backbone.{stage}.{index}',
    classifier={
        'hidden.conv': 'prediction.1',
        'hidden.norm': 'prediction.2',
        'head': 'head',
        'dist_head': 'dist_head',
    },
    classifier_type='DistilledClassifier',
    classifier_sizes={
        'hidden_channels': 'prediction.1.weight',
        'num_classes': 'head.weight',
    },
)
