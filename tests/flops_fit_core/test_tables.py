"""Anybody's table of runs: formats, names, the third of N, D and C, data frames, round trips."""

import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit_core.data import Runs
from flops_fit_core.errors import InputError, InputTypeError
from flops_fit_core.tables import read_runs, write_runs

DATA = Path(__file__).parents[3] / "shared" / "data"

PLAIN = "n_params,n_tokens,loss\n1e6,2e8,3.5\n2e6,1e8,3.4\n"


def test_a_plain_csv(table):
    runs = read_runs(table(PLAIN))
    assert runs.n_params.tolist() == [1e6, 2e6]
    assert runs.n_tokens.tolist() == [2e8, 1e8]
    assert runs.loss.tolist() == [3.5, 3.4]
    assert runs.flops == pytest.approx([6 * 1e6 * 2e8, 6 * 2e6 * 1e8])
    assert runs.label == ("line 2", "line 3")
    assert any("flops was not in the table: by C = 6·N·D" in note for note in runs.notes)


@pytest.mark.parametrize(("given_", "missing"), [
    ("n_params,flops", "n_tokens"), ("n_tokens,flops", "n_params"), ("n_params,n_tokens", "flops"),
])  # fmt: skip
def test_the_third_follows_by_6nd(table, given_, missing):
    row = {"n_params": 3e6, "n_tokens": 5e8, "flops": 6 * 3e6 * 5e8}
    names = given_.split(",")
    runs = read_runs(table(f"{given_},loss\n" + ",".join(repr(row[name]) for name in names) + ",2.5\n"))
    assert getattr(runs, missing)[0] == pytest.approx(row[missing], rel=1e-15)


def test_measured_flops_are_kept(table):
    runs = read_runs(table("n_params,n_tokens,flops,loss\n1e6,1e8,7e14,3\n"))
    assert runs.flops.tolist() == [7e14]


def test_columns_map_names_and_quotes_hold(table):
    runs = read_runs(
        table('Name;"eval/loss";params;tokens;State\n"run; one";2,5\n'.replace("2,5", "2.5;1e6;1e8;finished")),
        columns={"n_params": "params", "n_tokens": "tokens", "loss": "eval/loss", "label": "Name", "status": "State"},
    )
    assert runs.label == ("run; one",)
    assert runs.status == ("done",)
    assert runs.loss.tolist() == [2.5]


def test_a_wandb_export_keeps_crashed_runs_out_of_fits(table):
    text = (
        '"Name","State","config.n_params","_step","summary/tokens","eval/loss"\n'
        '"brisk-1","finished","1000000","10","20000000","3.1"\n'
        '"brisk-2","crashed","2000000","3","","NaN"\n'
        '"brisk-3","finished","2000000","10","10000000","3.0"\n'
    )
    columns = {"n_params": "config.n_params", "n_tokens": "summary/tokens", "loss": "eval/loss", "status": "State"}
    for tokens in ("", "5000000"):  # a run that crashed early logged neither tokens nor loss
        runs = read_runs(table(text.replace('"3","",', f'"3","{tokens}",')), columns={**columns, "label": "Name"})
        assert runs.status == ("done", "failed", "done")
        assert runs.usable().tolist() == [True, False, True]
        assert not any("cannot be used" in note for note in runs.notes)
    with pytest.raises(InputError, match="line 3: summary/tokens is missing, eval/loss is missing"):
        read_runs(table(text.replace("crashed", "finished")), columns=columns)


def test_a_crashed_run_without_tokens_takes_nothing_from_the_budgets(table):
    rows = "".join(f"{n}e6,{1e9 / n!r},3,finished\n" for n in (1, 2, 4))
    runs = read_runs(
        table("n_params,n_tokens,loss,status\n" + rows + "8e6,0,inf,crashed\n8e6,,,crashed\n8e6,,,crashed\n")
    )
    assert runs.budget[:3] == pytest.approx([6e15] * 3)
    assert np.isnan(runs.budget[3:]).all()
    assert runs.usable().sum() == 3
    assert any("6e15 (3 runs)" in note for note in runs.notes)


RECORDS = [{"n_params": 1e6, "n_tokens": 2e8, "loss": 3.5}, {"n_params": 2e6, "n_tokens": 1e8, "loss": 3.4}]


@pytest.mark.parametrize("text", [
    json.dumps(RECORDS),
    json.dumps(RECORDS, indent=2),
    "\n".join(map(json.dumps, RECORDS)) + "\n",
    json.dumps({name: [row[name] for row in RECORDS] for name in RECORDS[0]}),
    json.dumps({name: {str(i): row[name] for i, row in enumerate(RECORDS)} for name in RECORDS[0]}),
    json.dumps({str(i): row for i, row in enumerate(RECORDS)}),
    json.dumps({"columns": list(RECORDS[0]), "index": [0, 1], "data": [list(row.values()) for row in RECORDS]}),
])  # fmt: skip
def test_json_in_every_usual_layout(table, text):
    runs = read_runs(table(text, "runs.json"))
    assert runs.loss.tolist() == [3.5, 3.4]
    assert runs.n_params.tolist() == [1e6, 2e6]


def test_nested_json_has_dotted_names(table):
    line = {"config": {"n_params": {"value": 1e6}}, "summary": {"loss": 3.0, "tokens": 1e8}, "size": {"depth": 2}}
    runs = read_runs(
        table(json.dumps(line), "runs.jsonl"),
        columns={"n_params": "config.n_params.value", "loss": "summary.loss", "n_tokens": "summary.tokens"},
    )
    assert runs.n_params.tolist() == [1e6]
    assert runs.size == ({"depth": 2},)


W_AND_B = {
    "summary": [{"loss": 3.5, "_wandb": {"runtime": 9}}, {"loss": 3.4, "_wandb": {"runtime": 8}}],
    "config": [{"n_params": 1e6, "tokens": 2e8}, {"n_params": 2e6, "tokens": 1e8}],
    "name": ["brisk-1", "brisk-2"],
}


@pytest.mark.parametrize("as_csv", [False, True])
def test_the_frame_of_wandbs_own_export_and_its_csv(tmp_path, as_csv):
    # https://docs.wandb.ai/guides/track/public-api-guide: the runs of a project, each with a dict in a cell
    frame = pytest.importorskip("pandas").DataFrame(W_AND_B)
    if as_csv:
        frame.to_csv(tmp_path / "project.csv")
    runs = read_runs(
        tmp_path / "project.csv" if as_csv else frame,
        columns={"n_params": "config.n_params", "n_tokens": "config.tokens", "loss": "summary.loss", "label": "name"},
    )
    assert runs.n_params.tolist() == [1e6, 2e6]
    assert runs.loss.tolist() == [3.5, 3.4]
    assert runs.label == ("brisk-1", "brisk-2")


def test_numbers_that_python_prints_but_does_not_read_as_such_are_read(table):
    cell = "{'n_params': np.float64(1e6), 'tokens': 2e8, 'loss': 3.5, 'grad': nan, 'steps': [1, -inf]}"
    names = {"n_params": "run.n_params", "n_tokens": "run.tokens", "loss": "run.loss"}
    runs = read_runs(table(f'name,run\nbrisk-1,"{cell}"\n'), columns=names)
    assert (runs.n_params[0], runs.n_tokens[0], runs.loss[0]) == (1e6, 2e8, 3.5)
    for no_number in (cell.replace("np.float64", "timedelta"), "{open('secret').read(): 1}"):
        with pytest.raises(InputError, match=r"has no column 'run\.n_params'"):
            read_runs(table(f'name,run\nbrisk-1,"{no_number}"\n'), columns=names)


def test_a_crashed_run_makes_no_budget_of_its_own(table):
    rows = "".join(f"{n}e6,{1e9 / n!r},3,finished\n" for n in (1, 2, 4))
    runs = read_runs(table("n_params,n_tokens,loss,state\n" + rows + "8e6,3e7,,crashed\n8e6,1.26e8,,crashed\n"),
                     columns={"status": "state"})  # fmt: skip
    assert runs.budget[:3] == pytest.approx([6e15] * 3)
    assert np.isnan(runs.budget[3])
    assert runs.budget[4] == pytest.approx(6e15)
    assert any(note.startswith("1 budget recovered from C") for note in runs.notes)


def test_a_column_of_states_that_is_not_mapped_is_pointed_to(table):
    text = "n_params,n_tokens,loss,state\n1e6,2e8,3.5,finished\n2e6,1e8,,crashed\n"
    with pytest.raises(InputError, match=r"line 3: loss is missing\..*columns=\{\"status\": \"state\"\}"):
        read_runs(table(text))


def test_text_that_looks_like_an_object_stays_a_label(table):
    assert read_runs(table("n_params,n_tokens,loss,label\n1e6,2e8,3.5,{'a': 1}\n")).label == ("{'a': 1}",)


@pytest.mark.parametrize(("columns", "says"), [
    ({"loss": 0}, "'loss' is 0 (int): give the table's own name as text"),
    ({"loss": None}, "'loss' is None (NoneType): give"),
])  # fmt: skip
def test_a_column_named_by_no_text_is_refused(table, columns, says):
    with pytest.raises(InputTypeError, match=re.escape(says)):
        read_runs(table(PLAIN), columns=columns)


def test_a_key_that_is_no_text_is_refused(table):
    with pytest.raises(InputError, match="columns: 0 is no column of Runs"):
        read_runs(table(PLAIN), columns={0: "loss"})


def test_what_is_no_table_of_text_says_what_to_do(tmp_path):
    path = tmp_path / "runs.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    with pytest.raises(InputError, match=r"runs\.csv\.gz is no text in UTF-8: unpack it"):
        read_runs(path)
    with pytest.raises(InputError, match="is an address, and read_runs takes a file: download it"):
        read_runs("https://example.org/runs.csv")


def test_the_text_of_runs_counts_budgets_that_differ_by_rounding_once():
    budget = [1e18, 1e18 * (1 + 1e-12), 3e18, 3e18]
    runs = Runs(n_params=[1e8, 2e8, 1e8, 2e8], n_tokens=[1e9] * 4, loss=[3.0] * 4, budget=budget)
    assert "; 2 budgets 1e18 to 3e18;" in repr(runs)
    assert "; 1 budget 3e18;" in repr(runs.where([2, 3]))


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert read_runs(path).loss.tolist() == [3.5, 3.4]


def test_a_data_frame_is_taken_and_may_be_read_only(table):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"N": [1e6, 2e6], "D": [1e8, 2e8], "loss": [3.0, 2.9], "note": ["a", None]})
    runs = read_runs(frame, columns={"n_params": "N", "n_tokens": "D"})
    assert runs.label == ("index 0", "index 1")
    frame.loc[1, "loss"] = None
    with pytest.raises(InputError, match="the data frame: 1 of 2 rows cannot be used: index 1: loss is missing"):
        read_runs(frame, columns={"n_params": "N", "n_tokens": "D"})
    frozen = np.array([1e6, 2e6])
    frozen.setflags(write=False)
    table_ = Runs(n_params=frozen, n_tokens=frozen, loss=frozen)
    assert table_.where([True, False]).n_params.tolist() == [1e6]


@pytest.mark.parametrize(("index", "places"), [
    ([7, 26, 3], ("index 7", "index 26", "index 3")),
    (["a", "b", "c"], ("index a", "index b", "index c")),
    ([7, 7, 26], ("index 7 (iloc 0)", "index 7 (iloc 1)", "index 26")),
])  # fmt: skip
def test_rows_of_a_data_frame_are_named_by_their_index(index, places):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n_params": [1e6, 2e6, 4e6], "n_tokens": 1e8, "loss": [3.0, 2.9, 2.8]}, index=index)
    assert read_runs(frame).label == places
    frame.iloc[1, 2] = math.nan
    assert read_runs(frame, bad_rows="drop").label == (places[0], places[2])
    with pytest.raises(InputError, match="1 of 3 rows") as error:
        read_runs(frame)
    assert f"used: {places[1]}: loss is missing. " in str(error.value)


def test_rows_of_a_frame_without_an_index_are_counted():
    class Frame:  # what read_runs needs of one, as polars has it
        columns = ("n_params", "n_tokens", "loss")

        def __getitem__(self, name):
            return [1e6, 2e6]

    assert Runs.from_csv(Frame(), columns={"n_tokens": "n_tokens"}).label == ("row 1", "row 2")


def full():
    return Runs(
        n_params=[1e6, 1 / 3 * 1e7, 2e6],
        n_tokens=[1e8, 2e8, 3e8],
        loss=[3.1, math.nan, 0.1 + 0.2],
        budget=[1e15, 1e15, 2e15],
        flops=[1.01e15, 0.99e15, 2e15],
        seed=[0, 1, math.nan],
        loss_stderr=[0.01, math.nan, 0.02],
        n_params_non_embedding=[9e5, 3e6, math.nan],
        size=[64, "128", {"depth": 2, "heads": (1, 2)}],
        status=["done", "diverged", "done"],
        hparams=[{"lr": 0.1}, {}, {"lr": 0.2, "betas": (0.9, 0.95)}],
        schedule=["cosine", "", "cosine"],
        label=["a", "b, c", 'd "e"'],
        flags=[(), ("undercooled",), ("x", "y")],
    )


def test_csv_round_trip_is_exact(tmp_path):
    runs = full()
    runs.to_csv(tmp_path / "runs.csv")
    assert Runs.from_csv(tmp_path / "runs.csv") == runs


def test_a_table_prints_in_a_few_words():
    text = str(full())
    assert text.startswith(
        "Runs(3 runs, 2 of them usable; 2 budgets 1e15 to 2e15; N 1e6 to 2e6; D 1e8 to 3e8; loss 0.3 to 3.1;"
    )
    assert "columns n_params, n_tokens, loss, budget, flops, seed" in text
    assert len(text) < 300
    assert str(Runs.empty()) == "Runs(0 runs; columns n_params, n_tokens, loss)"
    unknown = Runs(n_params=[1e6], n_tokens=[1e8], loss=[3.0], budget=[math.nan])
    assert "budgets" not in repr(unknown)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(1e-12, 1e30, allow_subnormal=False)] * 4),
        min_size=1,
        max_size=8,
        unique_by=lambda r: r[0],
    )
)
def test_floats_survive_a_round_trip_to_the_bit(tmp_path_factory, rows):
    n, d, loss, budget = map(list, zip(*rows, strict=True))
    path = tmp_path_factory.mktemp("csv") / "runs.csv"
    runs = Runs(n_params=n, n_tokens=d, loss=loss, flops=budget, budget=budget)
    write_runs(runs, path)
    again = read_runs(path)
    for name in ("n_params", "n_tokens", "loss", "budget", "flops"):
        assert getattr(again, name).tolist() == getattr(runs, name).tolist()


def test_non_embedding_counts_on_request():
    runs = full()
    with pytest.raises(InputError, match="not all of the 2 usable runs"):
        runs.non_embedding()
    other = runs.where([True, True, False]).non_embedding()
    assert other.n_params.tolist() == [9e5, 3e6]
    assert any("non-embedding" in note for note in other.notes)
    with pytest.raises(InputError, match="no run gives"):
        Runs(n_params=[1], n_tokens=[1], loss=[1]).non_embedding()


@pytest.mark.parametrize(("name", "columns", "count", "budgets"), [
    ("chinchilla_isoflops_123.csv", {"n_params": "params", "n_tokens": "tokens"}, 123, 9),
    ("marin_comma_85.csv", {"n_params": "params", "n_tokens": "tokens"}, 85, 7),
])  # fmt: skip
def test_published_tables(name, columns, count, budgets):
    if not (DATA / name).exists():
        pytest.skip("the published data is not there")
    runs = read_runs(DATA / name, columns=columns)
    assert len(runs) == count
    assert len(set(runs.budget)) == budgets


def test_runs_without_budgets_are_read_without_a_warning():
    path = DATA / "chinchilla_epoch_245.csv"
    if not path.exists():
        pytest.skip("the published data is not there")
    runs = read_runs(path, columns={"n_params": "Model Size", "flops": "Training FLOP"})
    assert len(runs) == 245
    assert runs.budget is None
    assert any("does not group into budgets" in note for note in runs.notes)
    assert runs.n_tokens == pytest.approx(runs.flops / (6 * runs.n_params))
