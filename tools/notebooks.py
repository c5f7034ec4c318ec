"""What the tools and the tests need to know about the notebooks of this repository."""
import json, os, re, shutil, subprocess, sys, tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

from execnb.nbio import nb2str
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r'\s*#\|\s*([\w-]+):?\s*(.*)')
VIEW, STATE = (f'application/vnd.jupyter.widget-{part}+json' for part in ('view', 'state'))


def settings(root: Path = ROOT) -> dict[str, str]:
    "settings.ini"
    config = ConfigParser(delimiters=['='])
    config.read(root/'settings.ini', encoding='utf-8')
    return dict(config['DEFAULT'])


def notebooks(root: Path = ROOT) -> list[Path]:
    "Every notebook of the tree at `root`, in path order; nbdev too passes over names with `_` or `.` in front"
    inside = sorted((root/'nbs').rglob('*.ipynb'))
    return [path for path in inside if not re.search(r'/[_.]', path.relative_to(root).as_posix())]


def name(path: Path) -> str:
    "`tutorials/01_balanced_network.ipynb`, whichever copy of the tree holds it"
    return path.as_posix().rpartition('/nbs/')[2]


def read(path: Path) -> dict:
    "The notebook as nested dictionaries"
    return json.loads(path.read_text(encoding='utf-8'))


def source(cell: dict) -> str:
    "The cell's text, which the file format allows to be one string or a list of lines"
    return ''.join(cell['source'])


def directives(text: str) -> dict[str, str]:
    "`{name: value}` of the `#|` lines on top of a cell"
    found = {}
    for line in text.splitlines():
        match = DIRECTIVE.match(line)
        if match: found[match[1]] = match[2].strip()
        elif line.strip(): break
    return found


def left_out(text: str) -> bool:
    "Whether nbdev_test passes over a code cell: `eval: false`, a flag of tst_flags, or the export itself"
    asked, flags = directives(text), settings()['tst_flags'].split()
    return asked.get('eval', '').lower() == 'false' or any(flag in asked for flag in flags) \
        or 'nbdev_export(' in text


def cleaned(notebook: dict) -> str:
    "The file that `nbdev_clean` would leave; `notebook` is changed on the way"
    clean_nb(notebook)
    return nb2str(notebook)


def texts(node) -> Iterator[str]:
    "Every string in a notebook but its pictures"
    if isinstance(node, str): yield node
    elif isinstance(node, list): yield from (text for item in node for text in texts(item))
    elif isinstance(node, dict):
        for key, value in node.items():
            if not key.startswith('image/'): yield from texts(value)


def outputs(notebook: dict) -> Iterator[dict]:
    "What the cells show, and what the widgets in them have drawn"
    for cell in notebook['cells']: yield from cell.get('outputs', [])
    models = notebook['metadata'].get('widgets', {}).get(STATE, {}).get('state', {})
    for model in models.values(): yield from model['state'].get('outputs', [])


def modules(folder: Path) -> dict[str, str]:
    "The Python files under `folder`"
    return {path.relative_to(folder).as_posix(): path.read_text(encoding='utf-8')
            for path in folder.rglob('*.py')}


def exported(root: Path = ROOT) -> dict[str, str]:
    "The package that `nbdev_export` makes of the notebooks, in a copy of the tree"
    package = settings(root)['lib_path']
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for path in notebooks(root):
            (copy/'nbs'/name(path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy/'nbs'/name(path))
        shutil.copy(root/'settings.ini', copy)
        (copy/package).mkdir()
        initial = root/package/'__init__.py'  # nbdev owns its version line, the rest is written by hand
        if initial.exists(): shutil.copy(initial, copy/package)
        environment = {key: value for key, value in os.environ.items() if key != 'IN_TEST'}
        subprocess.run([sys.executable, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()'],
                       cwd=copy, env=environment, check=True)
        return modules(copy/package)


def stale(root: Path = ROOT) -> list[str]:
    "What differs between the notebooks and the module exported from them, both ways"
    package = settings(root)['lib_path']
    try: want, have = exported(root), modules(root/package)
    except subprocess.CalledProcessError: return ['nbdev_export stops with the error above']
    return ([f'{package}/{file} is missing: run nbdev_export' for file in sorted(want.keys() - have.keys())]
            + [f'{package}/{file} comes from no notebook: remove it' for file in sorted(have.keys() - want.keys())]
            + [f'{package}/{file} differs from its notebook: run nbdev_export'
               for file in sorted(want.keys() & have.keys()) if want[file] != have[file]])


def untidy(path: Path) -> bool:
    "Whether `nbdev_clean` would change the notebook"
    return cleaned(read(path)) != path.read_text(encoding='utf-8')
