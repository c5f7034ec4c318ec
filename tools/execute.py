"""Run notebooks, each in a kernel of its own, store what they show, and clean them.

Cells that nbdev_test leaves out are left out here too, and keep the output they have. Widgets get the
same ids in every run, so a second run of an unchanged notebook changes no byte.

usage: python tools/execute.py [--check] [--slow] [NOTEBOOK ...]     (default: every notebook)
       --check: write nothing, say which notebooks would change
       --slow: run the cells flagged `slow` too, for full-size numbers and timings to store
"""
import asyncio, hashlib, json, os, re, sys, time
from pathlib import Path

import nbformat, zmq
from nbclient import NotebookClient

from notebooks import ROOT, STATE, VIEW, cleaned, directives, left_out, name, notebooks

MODEL = re.compile(r'IPY_MODEL_([0-9a-f]{32})')


class Client(NotebookClient):
    "nbclient that leaves out what nbdev_test leaves out, apart from cells flagged slow if asked for"
    slow = '--slow' in sys.argv

    async def async_execute_cell(self, cell, cell_index, **options):
        if left_out(cell.source) and not (self.slow and 'slow' in directives(cell.source)): return cell
        nudge = asyncio.create_task(self.nudge())
        try: return await super().async_execute_cell(cell, cell_index, **options)
        finally: nudge.cancel()

    async def nudge(self):
        "Widget messages can use up the event for which a pending reply waits: ask the socket once a second"
        while True:
            await asyncio.sleep(1)
            self.kc.shell_channel.socket.get(zmq.EVENTS)


def shown(notebook: dict) -> list[str]:
    "Ids of the widgets that cells show, in the order of the page"
    data = (out.get('data', {}) for cell in notebook['cells'] for out in cell.get('outputs', []))
    return [each[VIEW]['model_id'] for each in data if VIEW in each]


def reached(first: list[str], models: dict) -> list[str]:
    "The ids `first` and those of all their parts, depth first; models that no page shows are left behind"
    order: dict[str, None] = {}
    todo = first[::-1]
    while todo:
        key = todo.pop()
        if key in order or key not in models: continue
        order[key] = None
        todo += MODEL.findall(json.dumps(models[key]))[::-1]
    return list(order)


def steady(notebook: dict) -> dict:
    "The notebook with each widget id, random in every run, replaced by a hash of its place on the page"
    saved = notebook['metadata'].get('widgets', {}).get(STATE)
    if not saved: return notebook
    order = reached(shown(notebook), saved['state'])
    saved['state'] = {key: saved['state'][key] for key in order}
    text = json.dumps(notebook)
    for place, key in enumerate(order):
        text = text.replace(key, hashlib.md5(str(place).encode()).hexdigest())
    return json.loads(text)


def executed(path: Path) -> str:
    "The notebook file as a fresh run leaves it"
    notebook = nbformat.read(path, 4)
    notebook.metadata.pop('widgets', None)
    where = {'metadata': {'path': str(path.parent)}}
    quiet = ['--log-level=CRITICAL']  # else the kernel speaks up about its socket and its end
    Client(notebook, timeout=None if Client.slow else 300, kernel_name='python3', resources=where, extra_arguments=quiet).execute()
    return cleaned(steady(json.loads(nbformat.writes(notebook))))


def changed(path: Path, write: bool) -> bool:
    "Run one notebook, say how long it took, and whether its file changes"
    start = time.time()
    text = executed(path)
    print(f'{name(path)} {time.time() - start:.1f} s', flush=True)
    if text == path.read_text(encoding='utf-8'): return False
    if write: path.write_text(text, encoding='utf-8')
    return True


def main() -> int:
    check, named = '--check' in sys.argv, [arg for arg in sys.argv[1:] if not arg.startswith('--')]
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    os.environ['IN_TEST'] = '1'  # as under nbdev_test: a notebook that exports itself does nothing
    paths = [Path(arg).resolve() for arg in named] or notebooks()
    differ = [name(path) for path in paths if changed(path, write=not check)]
    if differ: print('changed:', *differ)
    return 1 if differ and check else 0


if __name__ == '__main__': sys.exit(main())
