"""Whatever README.md and docs/ show works: commands, options, paths, snippets.

Each command runs with a tiny model on tiny data, in a folder of its own, once for each
tool with the same options; with other kinds of models when the slow tests run, too.
What it reads must be what another command writes.  A block that cannot be run says why
in a comment before it; its commands are parsed all the same.
"""

import contextlib
import functools
import pkgutil
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest
from helpers import doc_pages, tiny_models
from helpers.commands import REPO
from helpers.doc_pages import PAGES, Command
from helpers.tool_server import fork_tool
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrapidnet.datasets.shapes import write_shapes_cls

LANGUAGES = {'bash', 'text', 'python', 'json', 'yaml', 'bibtex'}
# Options of other programs that pages name.
OTHERS = {
    '--no-deps': 'pip',
    '--no-binary': 'pip',
    '--no-build-isolation': 'pip',
    '--kill-on-bad-exit': 'srun',
    '--help': 'argparse',
}
# Files of ours, without placeholders, as pages name them.
FILE = re.compile(
    r'(?:configs|tools|dev|tests|docs|mmrapidnet|requirements)/[\w/.-]*\w'
)
MODULE = re.compile(r'\b(?:mmrapidnet|dev)(?:\.\w+)+')
CHECKPOINT = re.compile(r'work_dirs/(\w+)/(iter|epoch)_(\d+)\.pth')
EXTRAS = re.compile(r'\.\[([\w,]+)\]')
# What a config begins with that only parts of are shown.
BASES = {
    'teacher': 'mmrapidnet::rapidnet_ti_in1k.py',
    'backbone': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
}
KINDS = {'maskrcnn': 'detector', 'rtmdet': 'detector', 'semfpn': 'segmenter'}
SHAPES = {
    'detector': 'maskrcnn_rapidnet_ti_shapes.py',
    'segmenter': 'semfpn_rapidnet_ti_shapes.py',
    'classifier': 'rapidnet_ti_shapescls.py',
}
TINY = """
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
auto_scale_lr = dict(base_batch_size=4)
"""
TINY_RUN = (
    *('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2'),
    'default_hooks.checkpoint.interval=2',
)
# What makes a tool's default amount of work small; the last of two equal options holds.
SMALLER = {
    'tools/make_shapes.py': ('--train', '24', '--val', '12', '--size', '64'),
    'tools/train.py': TINY_RUN,
    'dev/ablations.py': ('--folder', 'ablations'),
}
# One row of the table of the ablations.
ABLATIONS = """
source: a paper
rows:
- {{name: pointwise, config: {0}/rapidnet_ti_pointwise_in1k.py, top1: 75.2}}
"""
FORMATS = {'.onnx': 'onnx', '.xml': 'openvino'}


# ------------------------------------------------------------- what pages name


def check_command(command: Command) -> list[str]:
    """What is wrong with a command; without running it."""
    first = next(word for word in command.words if '=' not in word)
    if command.tool:
        return check_call(command)
    if first == 'make':
        done = subprocess.run(
            ['make', '-n', *command.words[1:]], cwd=REPO, capture_output=True, text=True
        )
        return [] if done.returncode == 0 else [done.stderr.strip()]
    if first == 'pip':
        extras = EXTRAS.findall(command.line)
        files = [
            REPO / f'requirements/{name}.txt' for name in ','.join(extras).split(',')
        ]
        return [
            f'no extra {path.stem}' for path in files if extras and not path.exists()
        ]
    return [] if command.reason or first == 'cp' else [f'{first}: who runs it?']


def check_call(command: Command) -> list[str]:
    if not (REPO / command.tool).exists():
        return [f'no {command.tool}']
    tool, arguments = doc_pages.resolve_script(command.tool, command.arguments)
    if not tool.endswith('.py'):
        return []
    try:
        with contextlib.redirect_stderr(None):
            args, _ = doc_pages.parser_of(tool).parse_known_args(arguments)
    except SystemExit:
        return [f'{tool} does not take {" ".join(arguments)}']
    wrong = set(doc_pages.OPTION.findall(' '.join(arguments))) - known_options(tool)
    faults = [f'{tool} has no {option}' for option in sorted(wrong)]
    config = getattr(args, 'config', None)
    if config and config.startswith('configs/') and not is_own(config):
        if not (REPO / config).exists():
            return [*faults, f'no {config}']
        faults += check_settings(config, getattr(args, 'cfg_options', None) or {})
    return faults


def known_options(tool: str) -> set[str]:
    """A tool's options; those of training, too, where it hands them on."""
    parser = doc_pages.parser_of(tool)
    names = doc_pages.options_of(parser)
    handed_on = 'tools/train.py' in (parser.epilog or '')
    return names | (known_options('tools/train.py') if handed_on else set())


def is_own(config: str) -> bool:
    """Whether a config stands for the reader's own."""
    return Path(config).name.startswith('my_')


def check_settings(config: str, settings: dict) -> list[str]:
    """What --cfg-options changes must be in the config."""
    faults = []
    for key in settings:
        node = read_config(config)
        for part in key.split('.')[:-1]:
            index = int(part) if part.isdigit() else part
            try:
                node = node[index]
            except (KeyError, IndexError, TypeError):
                faults.append(f'{config} has no {key}')
                break
    return faults


@functools.cache
def read_config(config: str) -> Config:
    return Config.fromfile(REPO / config)


def check_checkpoint(name: str, unit: str, number: int) -> list[str]:
    """A checkpoint that a training is said to have written must be one it writes."""
    path = f'configs/{name}.py'
    if not (REPO / path).exists():
        return [] if is_own(path) else [f'no {path}']
    cfg = read_config(path)
    last = cfg.train_cfg.get('max_iters' if unit == 'iter' else 'max_epochs')
    return [] if last == number else [f'{name} ends with {cfg.train_cfg}, not {number}']


@pytest.mark.parametrize('page', PAGES)
def test_commands_are_those_of_our_tools(page):
    faults = [
        f'{command.place}: {fault}: {command.line}'
        for command in doc_pages.read_commands(page)
        for fault in check_command(command)
    ]
    for name, unit, number in CHECKPOINT.findall((REPO / page).read_text()):
        faults += check_checkpoint(name, unit, int(number))
    assert not faults, '\n'.join(faults)


@pytest.mark.parametrize('page', PAGES)
def test_synopses_name_options_that_exist(page):
    for block in doc_pages.read_blocks(page):
        if block.language == 'text':
            for tool, options in doc_pages.list_synopses(block.text):
                assert (REPO / tool).exists(), f'{page}: {tool}'
                tool, _ = doc_pages.resolve_script(tool, ())
                unknown = set(options) - known_options(tool)
                assert not unknown, f'{page}: {tool} has no {unknown}'


@functools.cache
def all_options() -> set[str]:
    return set(OTHERS).union(*map(known_options, doc_pages.tools()))


@pytest.mark.parametrize('page', PAGES)
def test_code_in_sentences_names_what_exists(page):
    faults = []
    for place, code in doc_pages.read_inline_code(page):
        tool = doc_pages.TOOL.search(code)
        if tool and (REPO / tool[0]).exists() and tool[0].endswith('.py'):
            options = known_options(tool[0]) | set(OTHERS)
        else:
            options = all_options()
        names = set(doc_pages.OPTION.findall(code)) - options
        faults += [f'{place}: no option {name}' for name in names]
        files = [] if set(code) & set('*<{') or 'NAME' in code else FILE.findall(code)
        for name in files:
            if not (is_own(name) or (REPO / name).exists()):
                faults.append(f'{place}: no file {name}')
        for name in MODULE.findall(code):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                faults.append(f'{place}: no {name}')
    assert not faults, '\n'.join(faults)


@pytest.mark.parametrize('page', PAGES)
def test_commands_stand_in_blocks_that_are_seen(page):
    for place, text in doc_pages.read_indented_code(page):
        assert not doc_pages.LOOSE.search(text), f'{place}: use a bash block'
    for block in doc_pages.read_blocks(page):
        place = f'{page}:{block.line}'
        assert block.language in LANGUAGES, f'{place}: {block.language!r}'


def test_a_page_that_promises_too_much(tmp_path, monkeypatch):
    """The checks of this file find what is wrong."""
    page = tmp_path / 'page.md'
    page.write_text(
        '```bash\n'
        'make nonsense\n'
        'python tools/train.py configs/nowhere.py\n'
        'python tools/train.py configs/semfpn_rapidnet_ti_shapes.py --faster\n'
        'python tools/nothing.py\n'
        'python tools/test.py configs/semfpn_rapidnet_ti_shapes.py\n'
        'python tools/train.py configs/semfpn_rapidnet_ti_shapes.py \\\n'
        '    --cfg-options no.such.key=1\n'
        'rm -r work_dirs\n'
        "pip install '.[onnx,tflite]'\n"
        '```\n'
        '<!-- not run: needs ImageNet -->\n'
        '```bash\n'
        'rm -r data\n'
        '```\n'
    )
    monkeypatch.setattr(doc_pages, 'REPO', tmp_path)
    commands = doc_pages.read_commands('page.md')
    monkeypatch.undo()
    faults = [fault for command in commands for fault in check_command(command)]
    assert len(commands) == 9
    assert [' '.join(fault.split()[-2:]) for fault in faults[1:]] == [
        'no configs/nowhere.py',
        'no --faster',
        'no tools/nothing.py',
        'take configs/semfpn_rapidnet_ti_shapes.py',
        'no no.such.key',
        'runs it?',
        'extra tflite',
    ]
    assert commands[-1].reason == 'needs ImageNet'
    assert check_checkpoint('semfpn_rapidnet_ti_shapes', 'iter', 440) == []
    assert check_checkpoint('semfpn_rapidnet_ti_shapes', 'iter', 441)
    assert check_checkpoint('semfpn_rapidnet_ti_shapes', 'epoch', 440)


# ------------------------------------------------------------- running it all


def commands_to_run() -> list:
    """One command for each tool with the same options; slow: other kinds of models."""
    chosen, same_but_for_the_kind = {}, set()
    for command in runnable():
        if command.tool:
            options = frozenset(doc_pages.OPTION.findall(command.line))
            suffixes = frozenset(re.findall(r'\.(?:pth|onnx|xml)\b', command.line))
            configs = re.findall(r'configs/\w+', command.line)
            key = (command.tool, options, suffixes)
            slow = pytest.mark.slow if key in same_but_for_the_kind else ()
            param = pytest.param(command, id=command.line, marks=slow)
            chosen.setdefault((*key, frozenset(map(kind_of, configs))), param)
            same_but_for_the_kind.add(key)
    return list(chosen.values())


def runnable() -> list[Command]:
    """The commands of all pages that carry no mark that says why they are not run."""
    commands = [command for page in PAGES for command in doc_pages.read_commands(page)]
    return [command for command in commands if not command.reason]


def kind_of(config: str) -> str:
    """The kind of a config's model; the reader's own is a detector."""
    name = Path(config).name
    if name == 'my_own':
        return 'detector'
    return KINDS.get(name.partition('_')[0], 'classifier')


@pytest.fixture(scope='module')
def small_data(shapes_root, tmp_path_factory) -> Path:
    """The data sets of the configs for Shapes, where they expect them."""
    data = tmp_path_factory.mktemp('docs') / 'data'
    data.mkdir()
    (data / 'shapes').symlink_to(shapes_root)
    splits = {'train': 24, 'val': 12}
    write_shapes_cls(data / 'shapes_cls', splits=splits, image_size=64)
    return data


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A checkpoint of the tiny model of each kind, made when it is needed."""
    folder = tmp_path_factory.mktemp('weights')

    @functools.cache
    def write(kind: str) -> Path:
        cfg = Config.fromfile(write_tiny_config(folder / f'{kind}.py', kind))
        return tiny_models.write_checkpoint(cfg, folder / f'{kind}.pth')

    return write


def write_tiny_config(path: Path, kind: str) -> Path:
    base = REPO / 'configs' / SHAPES[kind]
    path.write_text(f"_base_ = '{base}'\n{tiny_models.CONFIGS[kind][1]}{TINY}")
    return path


@pytest.fixture
def repository(tmp_path, small_data) -> Path:
    """A folder in which the configs that pages name are of tiny models."""
    (tmp_path / 'configs').mkdir()
    for path in (REPO / 'configs').glob('*.py'):
        write_tiny_config(tmp_path / 'configs' / path.name, kind_of(path.stem))
    (tmp_path / 'ablations').mkdir()
    table = ABLATIONS.format(REPO / 'configs' / 'ablations')
    (tmp_path / 'ablations' / 'published.yml').write_text(table)
    return tmp_path


@pytest.fixture(scope='module')
def exported(weights, small_data, tmp_path_factory):
    """Where the file of a kind and a format is; what a command has exported is kept."""
    folder = tmp_path_factory.mktemp('exported')
    (folder / 'data').symlink_to(small_data)

    def find(kind: str, suffix: str, made: Path | None = None) -> Path:
        out = folder / f'{kind}{suffix}'
        if made is not None:
            copy_file(made, out)
        if not out.exists():
            checkpoint = weights(kind)
            where = ('--format', FORMATS[suffix], '--out', out)
            config = checkpoint.with_suffix('.py')
            done = fork_tool('export.py', config, checkpoint, *where, cwd=folder)
            assert done.returncode == 0, done.stderr
        return out

    return find


def copy_file(source: Path, target: Path) -> None:
    """Copy an exported file with the parts that lie beside it."""
    for part in source.parent.glob(f'{source.stem}.*'):
        shutil.copy(part, target.with_suffix(part.suffix))


@pytest.fixture
def provide(repository, small_data, weights, exported):
    """Puts a file where a command expects what another, or the reader, has written."""

    def provide(name: str, kind: str) -> None:
        path = repository / name
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.py':
            write_tiny_config(path, kind)
        elif path.suffix == '.pth':
            shutil.copy(weights(kind), path)
        elif path.suffix in FORMATS:
            copy_file(exported(kind, path.suffix), path)
        else:
            path.symlink_to(small_data / 'shapes' / 'coco' / 'val2017')

    return provide


@pytest.mark.parametrize('command', commands_to_run())
def test_command_runs(command, repository, small_data, provide, exported):
    tool, arguments = doc_pages.resolve_script(command.tool, command.arguments)
    arguments += SMALLER.get(tool, ())
    args, _ = doc_pages.parser_of(tool).parse_known_args(arguments)
    if tool != 'tools/make_shapes.py':
        (repository / 'data').symlink_to(small_data)
    config = getattr(args, 'config', None)
    read = [getattr(args, name, None) for name in ('checkpoint', 'pretrained', 'src')]
    for name in filter(None, [config, *read, *getattr(args, 'inputs', ())]):
        provide(name, kind_of(Path(config).stem))
    done = fork_tool(REPO / tool, *arguments, cwd=repository)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for name in ('out', 'dst', 'work_dir'):
        written = getattr(args, name, None)
        assert not written or (repository / written).exists(), written
    if tool == 'tools/export.py':
        out = repository / args.out
        exported(kind_of(Path(config).stem), out.suffix, made=out)
    if tool == 'tools/train.py' and not args.work_dir:
        work_dir = repository / 'work_dirs' / Path(config).stem
        assert (work_dir / 'iter_2.pth').exists()


def test_the_main_jobs_are_among_the_commands_that_run():
    run = {param.values[0].tool for param in commands_to_run()}
    names = ('make_shapes', 'train', 'test', 'infer', 'export', 'fuse', 'check_dataset')
    assert run >= {f'tools/{name}.py' for name in names}


def files_of(command: Command) -> tuple[set[str], set[str]]:
    """What a command reads and what it writes, by the names of its arguments."""
    tool, arguments = doc_pages.resolve_script(command.tool, command.arguments)
    args = vars(doc_pages.parser_of(tool).parse_known_args(arguments)[0])
    read = {args.get(name) for name in ('config', 'checkpoint', 'pretrained', 'src')}
    written = {args.get(name) for name in ('out', 'dst', 'out_dir')}
    read.update(args.get('inputs') or ())
    if tool == 'tools/train.py':
        written.add(args['work_dir'] or f'work_dirs/{Path(args["config"]).stem}')
    return {*map(str, read - {None})}, {*map(str, written - {None})}


def unwritten(commands: list[Command]) -> set[str]:
    """What commands read that is not ours, nor the reader's, nor written by another."""
    read, written = map(set().union, *map(files_of, commands))
    return {
        name
        for name in read
        if not (is_own(name) or (REPO / name).exists())
        and not any(Path(name).is_relative_to(folder) for folder in written)
    }


def test_commands_read_what_others_write():
    commands = [command for command in runnable() if command.tool]
    assert unwritten(commands) == set()
    trained = [command for command in commands if 'train' not in command.tool]
    assert any(name.startswith('work_dirs/') for name in unwritten(trained))


# ------------------------------------------------------------- snippets


def list_snippets() -> list:
    return [
        pytest.param(block.text, id=f'{page}:{block.line}')
        for page in PAGES
        for block in doc_pages.read_blocks(page)
        if block.language == 'python' and not block.reason
    ]


@pytest.mark.parametrize('text', list_snippets())
def test_snippet_runs(text, repository, small_data, provide, monkeypatch):
    monkeypatch.chdir(repository)
    if 'import ' in text.partition('\n')[0]:
        for name in re.findall(r"'(\w+\.(?:onnx|xml))'", text):
            provide(name, kind_of(Path(name).stem))
        image = next((small_data / 'shapes' / 'coco' / 'val2017').iterdir())
        exec(text, {'image': cv2.imread(str(image))})
        return
    model = Config.fromstring(text, '.py').get('model', {})
    base = next((BASES[part] for part in BASES if part in model), None)
    if base and '_base_' not in text:
        cfg = Config.fromstring(f"_base_ = '{base}'\n{text}", '.py')
        with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
            if 'teacher' in model:
                assert registry.get(cfg.model.teacher.type)
            else:
                assert registry.build(cfg.model).backbone.out_channels
