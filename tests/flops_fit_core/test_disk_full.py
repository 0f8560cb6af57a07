"""A disk that fills up in the middle of a study, in a process whose files may not grow: said, and nothing lost."""

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import json, resource, sys
    from pathlib import Path
    import flops_fit
    from flops_fit_core.errors import StoreError
    sys.path.insert(0, {tests!r})
    import test_pipeline as toys

    class Fills:
        '''After three runs no file may be longer than `limit` bytes.'''
        ended = 0
        @flops_fit.hookimpl
        def flops_fit_run_end(self, record):
            self.ended += 1
            if self.ended == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))

    root = Path({folder!r})
    study = {{"trainer": {trainer}, "fitter": "isoflop"}}
    try:
        toys.sweep(root, output_dir=root / "a", plugins=[Fills()], **study)
        said = None
    except StoreError as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    strays = [str(path) for path in root.rglob("*.tmp")]
    standing = len(list(root.rglob("record.json")))
    again, whole = (toys.sweep(root, output_dir=root / name, **study) for name in "ab")
    same = [[(r.loss, r.status, r.curve) for r in result.records] for result in (again, whole)]
    print(json.dumps([said, strays, standing, same[0] == same[1], again.fit == whole.fit]))
"""


@pytest.mark.parametrize(("trainer", "limit"), [('flops_fit.trainer("simulate")', 0), ("toys.Known()", 300)])
def test_a_full_disk_is_said_and_the_same_call_goes_on(tmp_path, trainer, limit):
    """In the first case a curve is hit and then the record that would say so; in the second, a record in its middle."""
    code = textwrap.dedent(PROGRAM)
    code = code.format(tests=__file__.rsplit("/", 1)[0], trainer=trainer, limit=limit, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    said, strays, standing, same_records, same_fit = json.loads(done.stdout.splitlines()[-1])
    assert "record.json could not be written" in said
    assert "File too large" in said
    assert "make room and call again" in said
    assert strays == []
    assert standing == 3
    assert same_records
    assert same_fit
