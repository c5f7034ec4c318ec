"""Write README.md, and the figures it shows, from nbs/index.ipynb.

usage: python tools/readme.py [--check]     (--check: write nothing, say whether it is in step)
"""
import base64, posixpath, re, sys
from pathlib import Path

from notebooks import ROOT, VIEW, directives, read, source

FIGURES = 'index_files'
LINK = re.compile(r'(?<=\]\()(?![a-z]+:|[/#])([^)\s]+)')  # the address of a relative Markdown link


def from_root(text: str) -> str:
    "Relative links, which in the notebook start from nbs/, as seen from the top of the repository"
    return LINK.sub(lambda match: posixpath.normpath(f'nbs/{match[1]}'), text)


def hidden(cell: dict) -> bool:
    "Whether the cell stays off the page"
    asked = directives(source(cell))
    return 'hide' in asked or asked.get('include') == 'false'


def code(cell: dict) -> list[str]:
    "The cell's source in a fence, without its directives; nothing where it says `echo: false`"
    if directives(source(cell)).get('echo') == 'false': return []
    body = re.sub(r'\A(\s*#\|.*\n?)+', '', source(cell)).strip()
    return [f'```python\n{body}\n```'] if body else []


def output(out: dict, figure: str, figures: dict[str, bytes]) -> str:
    "One output as Markdown; a picture goes into `figures` under the name `figure`"
    data = out.get('data', {})
    if VIEW in data: return '*Interactive in the notebook.*'
    if 'image/png' in data:
        figures[figure] = base64.b64decode(data['image/png'])
        return f'![]({figure})'
    if 'text/markdown' in data: return from_root(''.join(data['text/markdown']))
    plain = ''.join(out.get('text', data.get('text/plain', ''))).rstrip()
    return f'```text\n{plain}\n```' if plain else ''


def blocks(cell: dict, figures: dict[str, bytes]) -> list[str]:
    "The parts of the page that a cell makes"
    if cell['cell_type'] == 'markdown': return [from_root(source(cell))]
    if cell['cell_type'] != 'code' or hidden(cell): return []
    named = ((f"{FIGURES}/{cell['id']}-{i}.png", out) for i, out in enumerate(cell['outputs']))
    return code(cell) + [output(out, figure, figures) for figure, out in named]


def page(notebook: dict) -> dict[str, bytes]:
    "`{path: content}` of README.md and its figures"
    figures: dict[str, bytes] = {}
    parts = [part for cell in notebook['cells'] for part in blocks(cell, figures) if part]
    note = '<!-- Made from nbs/index.ipynb by tools/readme.py: edit there. -->'
    return {'README.md': '\n\n'.join([*parts, f'{note}\n']).encode(), **figures}


def changes(root: Path = ROOT) -> dict[str, bytes | None]:
    "What has to be written (or, `None`, removed) to bring README.md and its figures into step"
    want = page(read(root/'nbs'/'index.ipynb'))
    old = {f'{FIGURES}/{path.name}': None for path in (root/FIGURES).glob('*')}
    have = {file: (root/file).read_bytes() if (root/file).exists() else None for file in want | old}
    return {file: want.get(file) for file in have if have[file] != want.get(file)}


def write(found: dict[str, bytes | None], root: Path = ROOT) -> None:
    "Carry out `changes`"
    for file, content in found.items():
        if content is None: (root/file).unlink(); continue
        (root/file).parent.mkdir(exist_ok=True)
        (root/file).write_bytes(content)


def main() -> int:
    found = changes()
    if '--check' not in sys.argv: write(found)
    for file in found: print(f'changed: {file}')
    return 1 if found and '--check' in sys.argv else 0


if __name__ == '__main__': sys.exit(main())
