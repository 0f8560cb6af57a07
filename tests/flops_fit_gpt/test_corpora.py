import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flops_fit_core.errors import InputError
from flops_fit_gpt import StdlibCorpus, TinyStoriesCorpus
from flops_fit_gpt.corpora import held_out

STORIES = [f"Once upon a time there was a cat named {i}.\nIt was happy.\n\nThe end." for i in range(60)]


@pytest.fixture
def parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "parquet"
    folder.mkdir()
    pq.write_table(pa.table({"text": STORIES[:40]}), folder / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"text": STORIES[40:50]}), folder / "train-00001-of-00002.parquet")
    pq.write_table(pa.table({"text": STORIES[50:]}), folder / "validation-00000-of-00001.parquet")
    return folder


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "TinyStories-train.txt").write_text("\n<|endoftext|>\n".join(STORIES[:50]) + "\n<|endoftext|>\n")
    (folder / "TinyStories-valid.txt").write_text("\n<|endoftext|>\n".join(STORIES[50:]))
    return folder


@pytest.mark.parametrize("kind", ["parquet", "text"])
def test_stories_of_a_local_folder(kind, request):
    rows = list(TinyStoriesCorpus(path=request.getfixturevalue(kind)).documents())
    assert [story for story, _ in rows] == STORIES
    assert [out for _, out in rows] == [False] * 50 + [True] * 10


def test_without_a_held_out_file_stories_are_held_out_by_their_text(text):
    (text / "TinyStories-valid.txt").unlink()
    rows = list(TinyStoriesCorpus(path=text).documents())
    assert rows == [(story, held_out(story)) for story in STORIES[:50]]


def test_copies_of_a_document_are_on_the_same_side():
    sides = [held_out(f"document {i}") for i in range(4000)]
    assert sides == [held_out(f"document {i}") for i in range(4000)]
    assert 330 < sum(sides) < 470  # one in ten


def test_identity_changes_with_the_files(text):
    corpus = TinyStoriesCorpus(path=text)
    before = corpus.identity()
    assert corpus.identity() == before
    with (text / "TinyStories-train.txt").open("a") as file:
        file.write("Another one.")
    assert corpus.identity() != before


def test_a_folder_without_stories_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.parquet or \.txt file"):
        list(TinyStoriesCorpus(path=tmp_path).documents())


def test_a_table_without_text_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"story": STORIES}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"columns \['story'\]"):
        list(TinyStoriesCorpus(path=tmp_path).documents())


def test_a_missing_hub_says_how_to_use_a_local_copy(tmp_path):
    code = textwrap.dedent("""
        from flops_fit_core.errors import InputError
        from flops_fit_gpt import TinyStoriesCorpus
        try:
            list(TinyStoriesCorpus().documents())
        except InputError as error:
            print(error)
    """)
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert "roneneldan/TinyStories" in said
    assert "corpus_path=" in said


def test_stdlib_is_the_interpreters_own_text():
    rows = list(StdlibCorpus().documents())
    texts = {document for document, _ in rows}
    assert Path(textwrap.__file__).read_text() in texts
    assert sum(map(len, texts)) > 5e6
    assert 0.02 < sum(len(d) for d, out in rows if out) / sum(len(d) for d, _ in rows) < 0.2


def test_stdlib_leaves_tests_and_packages_out(tmp_path):
    for name in ("b.py", "a/c.py", "test/t.py", "a/tests/t.py", "site-packages/p.py", "a/readme.txt", "empty.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.py" else name)
    corpus = StdlibCorpus(tmp_path)
    assert [document for document, _ in corpus.documents()] == ["a/c.py", "b.py"]
    before = corpus.identity()
    (tmp_path / "test" / "t.py").write_text("changed")
    assert corpus.identity() == before
    (tmp_path / "b.py").write_text("changed")
    assert corpus.identity() != before


def test_a_folder_without_python_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.py files"):
        StdlibCorpus(tmp_path).identity()
