"""Anybody's table of runs: formats, names, the third of N, D and C, budgets, bad rows by line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit_core.clusters import cluster_budgets
from flops_fit_core.data import Runs
from flops_fit_core.errors import InputError, InputTypeError
from flops_fit_core.faults import DROP
from flops_fit_core.tables import read_runs, write_runs

DATA = Path(__file__).parents[3] / "shared" / "data"

PLAIN = "n_params,n_tokens,loss\n1e6,2e8,3.5\n2e6,1e8,3.4\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="runs.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


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


def test_broken_json_lines_are_named(table):
    with pytest.raises(InputError, match="line 2"):
        read_runs(table('{"loss": 1}\n{"loss": 2,,}\n', "runs.jsonl"))


BAD = [
    ("1e6,1e8,", "loss is missing"),
    ("1e6,1e8", "loss is missing"),
    ("1e6,1e8,nan", "loss is missing"),
    ("1e6,,3", "n_tokens is missing"),
    ("0,1e8,3", "n_params is 0, not positive"),
    ("1e6,-5,3", "n_tokens is -5, not positive"),
    ("1e6,1e8,inf", "loss is inf, not finite"),
    ("70M,1e8,3", "n_params is '70M', not a number"),
    ("1e6,1e8,3,9", "4 cells where the header has 3"),
    ("1e6,2e8,3.5", "repeats line 2"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_rows_are_named_by_line(table, row, reason):
    path = table(PLAIN + "\n" + row + "\n")
    with pytest.raises(InputError) as error:
        read_runs(path)
    assert f"line 5: {reason}" in str(error.value)
    assert str(error.value).endswith('or leave them all out: flops_fit.read_runs(..., bad_rows="drop")')
    assert "1 of 3 rows" in str(error.value)
    dropped = Runs.from_csv(path, bad_rows="drop")
    assert len(dropped) == 2
    assert any(f"line 5: {reason}" in note for note in dropped.notes)


def test_two_runs_that_differ_in_seed_alone_are_no_duplicates(table):
    runs = read_runs(table("n_params,n_tokens,loss,seed\n1e6,1e8,3,0\n1e6,1e8,3,1\n"))
    assert runs.seed.tolist() == [0, 1]


def test_many_bad_rows_are_counted_and_none_left_is_an_error(table):
    path = table("n_params,n_tokens,loss\n" + "x,y,z\n" * 50)
    for bad_rows in ("error", "drop"):
        with pytest.raises(
            InputError, match=r"none of its 50 rows can be used: line 2: n_params.*and 40 more"
        ) as error:
            read_runs(path, bad_rows=bad_rows)
        said = str(error.value)
        assert said.count("such as 7e9") == 1
        assert said.endswith(f" Correct them: leaving them all out ({DROP}) would leave none")


def test_rows_that_are_left_out_are_said_to_be(table):
    runs = read_runs(table(PLAIN + "3e6,1e8,\n"), bad_rows="drop")
    (note,) = [note for note in runs.notes if "line 4" in note]
    assert note.endswith("runs.csv: 1 of 3 rows were left out, as they cannot be used: line 4: loss is missing")


@pytest.mark.parametrize(("text", "said"), [
    ("3,905", "'3,905' has a comma: write 3.905 where it is a decimal one, 3905 where it separates thousands"),
    ("3,9", "'3,9' has a decimal comma: write 3.9"),
    ("0,905", "'0,905' has a decimal comma: write 0.905"),
    ("1,5e3", "'1,5e3' has a decimal comma: write 1.5e3"),
    ("17,044,400,000", "'17,044,400,000' has separated thousands: write 17044400000"),
    ("1.234.567", "'1.234.567' has separated thousands: write 1234567"),
    ("1.234,5", "'1.234,5' has separated thousands: write 1234.5"),
    ("12 345", "'12 345' has separated thousands: write 12345"),
    ("9.8M", "'9.8M' has a suffix: write 9.8e6"),
    ("70m", "'70m' has a suffix: write 70e6"),
    ("20B tokens", "'20B tokens' has a suffix: write 20e9"),
    ("3 million", "'3 million' has a suffix: write 3e6"),
    ("3.905 nats", "'3.905 nats' has a unit: write the number alone and in full"),
    ("2 bits/byte", "'2 bits/byte' has a unit: write the number alone and in full"),
    ("12 PFLOPs", "'12 PFLOPs' has a unit: write the number alone and in full"),
    ("x", "Numbers are written in full, such as 7e9"),
    ("2024-01-01", "Numbers are written in full, such as 7e9"),
])  # fmt: skip
def test_text_that_looks_like_a_number_is_told_how_to_be_one(table, text, said):
    rows = "".join(f'1e{n}\t1e8\t"{text}"\n' for n in range(5, 9))
    with pytest.raises(InputError) as error:
        read_runs(table("n_params\tn_tokens\tloss\n" + rows))
    assert f"line 2: loss is {text!r}, not a number" in str(error.value)
    assert str(error.value).count(f". {said}. ") == 1
    assert str(error.value).count(" write ") <= 1 + ("comma: write 3.905" in said)


def test_an_unknown_status_is_told_the_known_ones_once(table):
    rows = "".join(f"{n}e6,1e8,3.{n},foo\n" for n in range(1, 9))
    with pytest.raises(InputError, match="line 2: status is 'foo', no known status; line 3") as error:
        read_runs(table("n_params,n_tokens,loss,status\n" + rows + "9e6,1e8,3,done\n"))
    said = str(error.value)
    assert said.count("preempted") == said.count("finished") == 1
    assert "a column of another meaning needs another name" in said
    assert "a column 'status'" not in said
    assert "the status 'diverged'" in said


def test_one_column_is_no_two_quantities(table):
    path = table("params,n_tokens,flops,loss\n1e6,1e8,6e14,3\n")
    for columns in ({"n_params": "params", "n_tokens": "params"}, {"n_params": "params", "loss": "params"}):
        second = list(columns)[1]
        with pytest.raises(InputError, match=f"column 'params' is named for both 'n_params' and {second!r}"):
            read_runs(path, columns)
    with pytest.raises(InputError, match="column 'n_tokens' is named for both 'n_params' and 'n_tokens'"):
        read_runs(path, {"n_params": "n_tokens"})  # which is a name of Runs, too
    budgets = read_runs(path, {"n_params": "params", "budget": "flops"}).budget  # whose C is the budget itself
    assert budgets.tolist() == [6e14]


def test_rows_that_contradict_themselves_are_noted_by_line(table):
    rows = [f"{n}e6,1e8,{7 * n}e14,3.{n}\n" for n in range(1, 7)]
    rows[3] = "4e6,1e11,28e14,3.4\n"
    (note,) = [n for n in read_runs(table("n_params,n_tokens,flops,loss\n" + "".join(rows))).notes if "contradict" in n]
    assert "at line 5 (0.001 times)" in note
    assert not any("contradict" in n for n in read_runs(table("n_params,n_tokens,flops,loss\n" + rows[0])).notes)


def test_a_list_of_columns_is_answered_with_the_mapping(table):
    with pytest.raises(InputTypeError, match=r"columns=\['loss'\] is a list.*columns=\{\"n_params\": \"params\""):
        read_runs(table(PLAIN), columns=["loss"])


def test_wrong_names_are_explained_with_the_nearest(table):
    path = table("params,tokens,loss\n1e6,1e8,3\n")
    with pytest.raises(InputError, match=r"no column 'parms'.*Did you mean 'params'"):
        read_runs(path, columns={"n_params": "parms", "n_tokens": "tokens"})
    with pytest.raises(InputError, match=r"'n_param' is no column of Runs. Did you mean 'n_params'"):
        read_runs(path, columns={"n_param": "params"})
    for near, meant in (
        ("params", "n_params"),
        ("tokens", "n_tokens"),
        ("stderr", "loss_stderr"),
        ("hparam", "hparams"),
    ):
        with pytest.raises(InputError, match=rf"'{near}' is no column of Runs. Did you mean '{meant}'"):
            read_runs(path, columns={near: "params"})
    with pytest.raises(InputError, match=r"lacks two of 'n_params', 'n_tokens', 'flops'.*'params', 'tokens', 'loss'"):
        read_runs(path)
    with pytest.raises(InputError, match="lacks 'loss'"):
        read_runs(table("n_params,n_tokens\n1,2\n"))
    with pytest.raises(InputError, match="2 columns 'loss'"):
        read_runs(table("n_params,n_tokens,loss,loss\n1,2,3,4\n"))


def test_files_that_are_none(table, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_runs(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is empty"):
        read_runs(table(" \n"))
    with pytest.raises(InputError, match="no rows"):
        read_runs(table("n_params,n_tokens,loss\n"))
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path)
    with pytest.raises(InputTypeError, match="not a int"):
        read_runs(3)
    with pytest.raises(InputError, match="bad_rows"):
        read_runs(table(PLAIN), bad_rows="ignore")


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert read_runs(path).loss.tolist() == [3.5, 3.4]


def test_budgets_near_each_other_are_neither_merged_nor_split_in_silence(table):
    close = "".join(
        f"{n},{c / (6 * n)!r},{3 + i / 10}\n" for i, (n, c) in enumerate([(1e3, 1e8), (2e3, 1e8), (3e3, 1e8)])
    )
    other = "".join(f"{n},{1.05e8 / (6 * n)!r},{2 + i / 10}\n" for i, n in enumerate([1e3, 2e3, 3e3]))
    with pytest.warns(UserWarning, match=r"1e8 and 1.05e8 are 5.00% apart and were kept as two budgets") as said:
        runs = Runs.from_csv(table("n_params,n_tokens,loss\n" + close + other))
    assert said[0].filename == __file__
    assert runs.budget == pytest.approx([1e8] * 3 + [1.05e8] * 3)
    assert any("2 budgets recovered" in note and "within 0.03" in note for note in runs.notes)


def test_stated_budgets_are_kept_and_missing_ones_found(table):
    missing = "".join(f"{n}e6,{1e9 / n!r},3,\n" for n in (2, 3, 4))
    runs = read_runs(table("n_params,n_tokens,loss,budget\n1e6,1e8,3,6.1e14\n2e6,5e7,3,\n" + missing))
    assert runs.budget == pytest.approx([6.1e14, 6.1e14, 6e15, 6e15, 6e15])


def test_cluster_budgets_at_its_edges():
    assert cluster_budgets([]).clusters == ()
    assert cluster_budgets([np.nan, 1.0]).clusters == ((1.0, 1.0, 1.0, 1),)
    chained = cluster_budgets([1.0, 1.02, 1.04, 1.06])
    assert len(chained.clusters) == 1
    assert "spread over 6.00%" in str(chained)
    planned = np.repeat([1e18, 3e18, 1e19], 7) * np.exp(np.random.default_rng(0).uniform(-0.004, 0.004, 21))
    clusters = cluster_budgets(planned)
    assert [count for *_, count in clusters.clusters] == [7, 7, 7]
    assert clusters.doubts == ()
    order = np.random.default_rng(1).permutation(21)
    assert cluster_budgets(planned[order]).budget == pytest.approx(clusters.budget[order])


@pytest.mark.parametrize(
    ("count", "decades"), [(50, 0.5), (100, 1), (200, 2), (500, 4), (1000, 1), (1000, 3), (1000, 6)]
)
def test_scattered_runs_do_not_group(count, decades):
    for seed in range(20):
        c = 10 ** np.random.default_rng(seed).uniform(18, 18 + decades, count)
        assert not cluster_budgets(c).grouped(), seed


@pytest.mark.parametrize("factor", [1.5, 2.0, 10.0])
@pytest.mark.parametrize("budgets", [1, 2, 5])
def test_budgets_that_runs_miss_by_a_few_percent_group(factor, budgets):
    planned = np.repeat(1e18 * factor ** np.arange(budgets), 7)
    for seed in range(20):
        spent = planned * np.exp(np.random.default_rng(seed).uniform(-0.03, 0.03, len(planned)))
        assert cluster_budgets(spent).grouped(), seed


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


def test_a_frame_with_a_column_twice_is_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n_params": [1e6, 2e6], "n_tokens": [1e8, 2e8], "loss": [3.0, 2.9]})
    with pytest.raises(InputError, match="several columns 'loss': keep one of each"):
        read_runs(pandas.concat([frame, frame[["loss"]]], axis=1))
