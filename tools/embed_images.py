"""Write the embeddings that a teacher gives of images, for a student to learn from."""

import argparse

from mmrapidnet.apis.cli import add_config_arguments, load_config, main_guard
from mmrapidnet.apis.embed_images import embed_images


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of the distillation')
    parser.add_argument(
        'folder', help='the images; also those in its sub folders are meant'
    )
    parser.add_argument(
        '--out',
        required=True,
        help='folder for the embeddings; those that are whole there are kept',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0')
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    written, kept = embed_images(cfg, args.folder, args.out, args.device)
    print(f'{written} embeddings written to {args.out}, {kept} were there')


if __name__ == '__main__':
    main_guard(main)
