import subprocess
import sys
import textwrap

import pytest

from flops_fit_core.errors import InputError
from flops_fit_gpt import BpeTokenizer
from flops_fit_gpt.cache import token_cache


def test_is_built_once(small, tmp_path, monkeypatch):
    first = token_cache(small, None, tmp_path)
    stamps = [first.file(part).stat().st_mtime_ns for part in ("train", "held_out")]
    monkeypatch.setattr(type(small), "documents", lambda self: pytest.fail("the corpus was read again"))
    assert token_cache(small, None, tmp_path) == first
    assert [first.file(part).stat().st_mtime_ns for part in ("train", "held_out")] == stamps


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_a_changed_byte_is_found_and_mended(part, small, tmp_path):
    cache = token_cache(small, None, tmp_path)
    good = cache.file(part).read_bytes()
    cache.file(part).write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    assert token_cache(small, None, tmp_path) == cache
    assert cache.file(part).read_bytes() == good


@pytest.mark.parametrize("damage", ["cut", "removed", "meta cut", "meta foreign"])
def test_other_damage_is_mended(damage, small, tmp_path):
    cache = token_cache(small, None, tmp_path)
    good = cache.file("train").read_bytes()
    meta = cache.folder / "meta.json"
    if damage == "cut":
        cache.file("train").write_bytes(good[:100])
    elif damage == "removed":
        cache.file("train").unlink()
    elif damage == "meta cut":
        meta.write_text(meta.read_text()[:50])
    else:
        meta.write_text('{"something": "else"}')
    assert token_cache(small, None, tmp_path) == cache
    assert cache.file("train").read_bytes() == good


def test_what_a_killed_build_left_is_in_nobodys_way(small, tmp_path):
    folder = token_cache(small, None, tmp_path / "a").folder
    left = tmp_path / "b" / (folder.name + ".building")
    left.mkdir(parents=True)
    (left / "train.bin").write_bytes(b"half")
    cache = token_cache(small, None, tmp_path / "b")
    assert cache.sha256 == token_cache(small, None, tmp_path / "a").sha256
    assert not left.exists()


def test_another_text_is_another_cache(small, listed, tmp_path):
    other = listed((*small.rows, ("one more", False)))
    a, b = token_cache(small, None, tmp_path), token_cache(other, None, tmp_path)
    assert a.folder != b.folder
    assert a.fingerprint != b.fingerprint
    assert token_cache(small, None, tmp_path / "elsewhere").fingerprint == a.fingerprint


def test_a_byte_pair_encoding_lies_beside_its_tokens(small, tmp_path):
    cache = token_cache(small, 270, tmp_path)
    tokenizer = BpeTokenizer.from_json((cache.folder / "tokenizer.json").read_text())
    assert (cache.vocab_size, cache.separator) == (tokenizer.vocab_size, tokenizer.separator)
    assert cache.n_tokens["train"] < token_cache(small, None, tmp_path).n_tokens["train"]


@pytest.mark.parametrize(
    ("rows", "part"), [((), "train"), ((("only", False),), "held_out"), ((("only", True),), "train")]
)
def test_a_corpus_without_documents_is_refused(rows, part, listed, tmp_path):
    with pytest.raises(InputError, match=f"no {part} document"):
        token_cache(listed(rows), None, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_folder_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache_dir="):
        token_cache(small, None, tmp_path / "file" / "below")


def test_processes_that_start_together_build_it_once(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        import attrs
        from flops_fit_gpt.cache import token_cache

        root = Path(sys.argv[1])

        @attrs.frozen
        class Slow:
            name = "slow"
            def identity(self):
                (root / f"ready-{sys.argv[2]}").touch()
                while len(list(root.glob("ready-*"))) < 3:
                    time.sleep(0.01)
                return "slow"
            def documents(self):
                with (root / "reads").open("a") as file:
                    file.write("read\\n")
                for i in range(200):
                    time.sleep(0.001)
                    yield f"document {i}", i % 10 == 0

        print(token_cache(Slow(), None, root / "cache").fingerprint)
    """)
    command = [sys.executable, "-c", script, str(tmp_path)]
    team = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(3)]
    said = {process.communicate(timeout=120)[0] for process in team}
    assert all(process.returncode == 0 for process in team)
    assert len(said) == 1
    assert (tmp_path / "reads").read_text() == "read\n"


def test_needs_no_torch():
    code = "import sys, flops_fit_gpt, flops_fit_gpt.cache; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
