"""Tables that cannot be read: what is wrong, where, and what to write instead."""

import pytest

from flops_fit_core.data import Runs
from flops_fit_core.errors import InputError, InputTypeError
from flops_fit_core.faults import DROP
from flops_fit_core.tables import read_runs

PLAIN = "n_params,n_tokens,loss\n1e6,2e8,3.5\n2e6,1e8,3.4\n"


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
    ("1e200,1e200,3", "n_params is 1e+200, not between 1e-100 and 1e+100"),
    ("1e6,1e8,1e-300", "loss is 1e-300, not between 1e-100 and 1e+100"),
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
    assert note.endswith("runs.csv: 1 of 3 rows was left out, as it cannot be used: line 4: loss is missing")


@pytest.mark.parametrize(("good", "said"), [
    ((), "lines 12 to 51"),
    ((12, 19, 30, 32, 50), "lines 13 to 18, 20 to 29, 31, 33 to 49, 51"),
    (range(13, 52), "line 12"),
    (range(14, 52), "lines 12 to 13"),
])  # fmt: skip
def test_the_places_of_all_bad_rows_are_said(table, good, said):
    rows = "".join(f"1e6,{line}e8,{3 if line in good else 'z'}\n" for line in range(2, 52))
    path = table("n_params,n_tokens,loss\n" + rows + "1e6,1e8,3\n")
    named = f"; line 11: loss is 'z', not a number; and {40 - len(good)} more: {said}"
    (note,) = [note for note in read_runs(path, bad_rows="drop").notes if "left out" in note]
    assert note.endswith(named)
    with pytest.raises(InputError, match="Numbers are written in full") as error:
        read_runs(path)
    assert f"{named}. Numbers are" in str(error.value)


def test_hundreds_of_scattered_rows_are_all_named_where_they_are_dropped(table):
    rows = "".join(f"1e6,{line}e8,{3 if line % 2 else ''}\n" for line in range(2, 702))
    path = table("n_params,n_tokens,loss\n" + rows)
    (note,) = [note for note in read_runs(path, bad_rows="drop").notes if "left out" in note]
    assert note.endswith("; and 340 more: lines " + ", ".join(map(str, range(22, 702, 2))))
    with pytest.raises(InputError, match=r"; and 340 more: lines 22, 24, 26, .*, 220 and 240 others\. Correct"):
        read_runs(path)


def test_rows_of_a_data_frame_are_all_named_by_their_index():
    pandas = pytest.importorskip("pandas")
    index = [*range(100, 110), 7, 6, "a", "007", 8, 3, 3, -1, 1.5, "b"]
    frame = pandas.DataFrame({"n_params": 1e6, "n_tokens": range(1, 21), "loss": [None] * 19 + [3.0]}, index=index)
    (note,) = [note for note in read_runs(frame, bad_rows="drop").notes if "left out" in note]
    assert note.endswith(
        "; and 9 more: index 6 to 8, index a, index 007, index 3 (iloc 15), index 3 (iloc 16), index -1, index 1.5"
    )


@pytest.mark.parametrize(("digits", "said"), [
    ("1" * 400, "inf, not finite"), ("-" + "1" * 400, "-inf, not finite"), ("1" * 5000, "inf, not finite"),
])  # fmt: skip
@pytest.mark.parametrize(("layout", "place"), [("{0}\n{1}\n", "line 2"), ("[{0}, {1}]", "row 2")])
def test_a_whole_number_too_large_for_a_float_is_a_bad_row(table, digits, said, layout, place):
    rows = [f'{{"n_params": 1e6, "n_tokens": {tokens}, "loss": 3}}' for tokens in ("100", digits)]
    path = table(layout.format(*rows), "runs.jsonl")
    with pytest.raises(InputError, match=f"1 of 2 rows cannot be used: {place}: n_tokens is {said}"):
        read_runs(path)
    assert read_runs(path, bad_rows="drop").n_tokens.tolist() == [100]


def test_a_long_number_that_nobody_reads_as_one_is_kept(table):
    long = "1" * 400
    (run,) = read_runs(table(f'{{"n_params": 1, "n_tokens": 1, "loss": 3, "label": {long}}}', "runs.json")).label
    assert run == long
    (size,) = read_runs(table("n_params,n_tokens,loss,size\n1,1,3," + "1" * 5000 + "\n")).size
    assert size == "1" * 5000


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
    assert "at line 5 (0.001 times): C" in note
    assert not any("contradict" in n for n in read_runs(table("n_params,n_tokens,flops,loss\n" + rows[0])).notes)


def test_all_rows_that_contradict_themselves_are_named(table):
    rows = "".join(f"1e6,{'1e11' if 5 <= line < 20 else '1e8'},6e14,{line}\n" for line in range(2, 60))
    (note,) = [n for n in read_runs(table("n_params,n_tokens,flops,loss\n" + rows)).notes if "contradict" in n]
    assert "line 14 (0.001 times) and 5 more (lines 15 to 19): C" in note


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


def test_a_frame_with_a_column_twice_is_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n_params": [1e6, 2e6], "n_tokens": [1e8, 2e8], "loss": [3.0, 2.9]})
    with pytest.raises(InputError, match="several columns 'loss': keep one of each"):
        read_runs(pandas.concat([frame, frame[["loss"]]], axis=1))
