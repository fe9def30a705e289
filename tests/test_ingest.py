"""Reading good files of every format, and every kind of bad input."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offramp.errors import ConfigError, DataError
from offramp.ingest import Ingested, Mapping, join, read

ROWS = [
    ("My card has not arrived", "card_arrival"),
    ("How do I change my PIN?", "change_pin"),
    ("Where is my new card", "card_arrival"),
]


def _csv(path: Path, text: str | bytes, name: str = "data.csv") -> Path:
    file = path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def _plain(path: Path) -> Path:
    return _csv(path, "text,category\n" + "".join(f"{text},{label}\n" for text, label in ROWS))


def _column(found: Ingested, name: str) -> list[object]:
    values: list[object] = found.rows.column(name).to_pylist()
    return values


def _reasons(found: Ingested) -> list[tuple[int, str]]:
    return list(zip(found.rejects["line"].to_pylist(), found.rejects["reason"].to_pylist(), strict=True))


def test_a_csv_is_read_with_a_guessed_mapping_that_is_shown(tmp_path: Path) -> None:
    found = read(_plain(tmp_path))

    assert found.guessed
    assert (found.mapping.inputs, found.mapping.target) == (("text",), ("category",))
    assert found.notes == ("guessed target: category (by its name)", "guessed inputs: text (columns of text)")
    assert _column(found, "field.text") == [text for text, _ in ROWS]
    assert _column(found, "target") == ["card_arrival", "change_pin", "card_arrival"]
    assert _column(found, "line") == [2, 3, 4]


def test_reading_again_with_the_mapping_found_guesses_nothing_and_gives_the_same_rows(tmp_path: Path) -> None:
    first = read(_plain(tmp_path))
    again = read(_plain(tmp_path), mapping=first.mapping)

    assert not again.guessed
    assert again.notes == ()
    assert again.rows.equals(first.rows)


def test_exact_duplicates_get_different_ids_that_are_stable(tmp_path: Path) -> None:
    file = _csv(tmp_path, "text,label\nhello there,a\nhello there,a\nbye now,b\n")

    first, again = read(file), read(file)

    assert len(set(_column(first, "id"))) == 3
    assert _column(first, "id") == _column(again, "id")


def test_the_id_of_a_row_does_not_depend_on_the_rows_around_it(tmp_path: Path) -> None:
    mapping = Mapping(inputs=("text",), target=("label",))
    one = read(_csv(tmp_path, "text,label\nhello,a\n", "1.csv"), mapping=mapping)
    two = read(_csv(tmp_path, "text,label\nbye,b\nhello,a\n", "2.csv"), mapping=mapping)

    assert _column(one, "id")[0] == _column(two, "id")[1]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    lines = [["text", "category"], ["one thing, said twice; here", "a"], ["another, of these", "b"]]
    body = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)

    assert _column(read(_csv(tmp_path, body)), "target") == ["a", "b"]


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("cp1252", "2 lines are not UTF-8 and were read as Windows-1252"),
        ("utf-16", "the file is UTF-16"),
        ("utf-16-le", "the file is UTF-16"),
    ],
)
def test_encodings_are_found(tmp_path: Path, encoding: str, note: str | None) -> None:
    text = "text,category\nKaffeemühle für 20 €,kitchen\nÖl und Essig,food\n"

    found = read(_csv(tmp_path, text.encode(encoding)))

    assert _column(found, "field.text") == ["Kaffeemühle für 20 €", "Öl und Essig"]
    assert (note in found.notes) if note else len(found.notes) == 2


def test_mixed_encodings_keep_what_was_right(tmp_path: Path) -> None:
    body = b"text,category\n" + "crème brûlée,food\n".encode() + "crème fraîche,food\n".encode("cp1252")

    found = read(_csv(tmp_path, body))

    assert _column(found, "field.text") == ["crème brûlée", "crème fraîche"]
    assert "1 lines are not UTF-8 and were read as Windows-1252" in found.notes


def test_bytes_that_no_code_page_defines_do_not_stop_the_reading(tmp_path: Path) -> None:
    found = read(_csv(tmp_path, b"text,category\nsome\x81thing long,a\nother thing long,b\n"))

    assert _column(found, "field.text")[0] == "some\x81thing long"


def test_rows_with_a_wrong_number_of_columns_are_kept_aside_with_line_and_reason(tmp_path: Path) -> None:
    found = read(_csv(tmp_path, "text,category\ngood row,a\nbad,row,here\n\nanother good,b\nlonely\n"))

    assert _column(found, "target") == ["a", "b"]
    assert _reasons(found) == [
        (3, "3 columns where the header has 2"),
        (6, "1 columns where the header has 2"),
    ]
    assert found.rejects["text"].to_pylist()[0].startswith("bad,row,here")
    assert "2 of 4 rows could not be used and were kept aside with their reasons" in found.notes


def test_quoted_line_breaks_are_part_of_a_field(tmp_path: Path) -> None:
    found = read(_csv(tmp_path, 'text,category\n"two\nlines, ""quoted""",a\nplain one,b\n'))

    assert _column(found, "field.text") == ['two\nlines, "quoted"', "plain one"]
    assert _column(found, "line") == [2, 4]


def test_a_stray_quote_costs_at_most_one_row(tmp_path: Path) -> None:
    rows = "".join(f"row number {i},a\n" for i in range(3000))
    body = 'text\tcategory\n"5 inch screen\ta\nnext row here\tb\n'

    tsv = read(_csv(tmp_path, body, "data.tsv"))
    csv = read(_csv(tmp_path, f'text,category\n"never closed, x, y,a\n{rows}last one of all,b\n'))

    assert _column(tsv, "field.text") == ['"5 inch screen', "next row here"]
    assert "1 rows have a stray quotation mark; their quotes were read as plain text" in tsv.notes
    assert csv.rows.num_rows == 3001
    assert _reasons(csv) == [(2, "an unclosed quote")]


def test_duplicate_and_empty_column_names_are_numbered_and_noted(tmp_path: Path) -> None:
    found = read(_csv(tmp_path, "text,category,note,note,\nhello there you,a,x,y,z\nbye now you,b,x,y,z\n"))

    assert any("'note'" in note and "more than once" in note for note in found.notes)
    assert found.mapping.inputs == ("text",)


def test_naming_a_duplicate_column_is_refused(tmp_path: Path) -> None:
    file = _csv(tmp_path, "text,text,category\nhello,there,a\n")

    with pytest.raises(DataError, match="occurs more than once"):
        read(file, mapping=Mapping(inputs=("text",), target=("category",)))


@pytest.mark.parametrize("label", ["", "NaN", "nan", "null", "  "])
def test_a_row_without_a_label_is_kept_aside(tmp_path: Path, label: str) -> None:
    found = read(_csv(tmp_path, f"text,category\nhello there,a\nno label here,{label}\nbye now,b\n"))

    assert found.rows.num_rows == 2
    assert _reasons(found) == [(3, f"no label (found {label!r})")]


def test_nan_in_json_is_no_label(tmp_path: Path) -> None:
    found = read(
        _csv(tmp_path, '{"text": "one thing", "label": NaN}\n{"text": "two", "label": "b"}\n', "d.jsonl")
    )

    assert _column(found, "target") == ["b"]


def test_trailing_spaces_of_labels_stay_for_curation_to_record(tmp_path: Path) -> None:
    assert _column(read(_csv(tmp_path, "text,category\nhello there,a \nbye,b\n")), "target") == ["a ", "b"]


def test_a_separator_inside_a_flat_label_is_written_so_that_it_cannot_split_it(tmp_path: Path) -> None:
    body = "text,category\nhello there,a > b\nbye now,c\nwell then,d\nand so on,e\n"

    found = read(_csv(tmp_path, body))

    assert _column(found, "target")[0] == "a › b"
    assert "1 labels hold ' > ', which separates levels; it was written as ' › '" in found.notes


def test_several_target_columns_are_the_levels_of_a_path(tmp_path: Path) -> None:
    body = "title,lvl1,lvl2,lvl3\ncoffee mill,Home,Kitchen,Mills\nscreen > 5 in,Tech,Screens > 5 in,\nodd one,,x,y\n"

    found = read(_csv(tmp_path, body))

    assert found.mapping.target == ("lvl1", "lvl2", "lvl3")
    assert _column(found, "target") == ["Home > Kitchen > Mills", "Tech > Screens › 5 in"]
    assert _reasons(found) == [(4, "no label (found ' / x / y')")]


@pytest.mark.parametrize("separator", [" > ", ">", " / ", "|"])
def test_a_path_column_is_found_and_written_in_one_form(tmp_path: Path, separator: str) -> None:
    paths = [("Home", "Kitchen"), ("Home", "Garden"), ("Tech", "Phones"), ("Tech", "Screens")]
    lines = [json.dumps({"title": f"thing {i}", "category": separator.join(p)}) for i, p in enumerate(paths)]

    found = read(_csv(tmp_path, "\n".join(lines), "d.jsonl"))

    assert found.mapping.separator == separator
    assert _column(found, "target") == ["Home > Kitchen", "Home > Garden", "Tech > Phones", "Tech > Screens"]


def test_a_list_is_a_path(tmp_path: Path) -> None:
    body = '{"text": "coffee mill", "label": ["Home", "Kitchen"]}\n{"text": "phone", "label": ["Tech"]}\n'

    assert _column(read(_csv(tmp_path, body, "d.jsonl")), "target") == ["Home > Kitchen", "Tech"]


def test_very_long_rows_are_kept_whole_and_noted(tmp_path: Path) -> None:
    long = "word " * 60_000

    found = read(_csv(tmp_path, f"text,category\n{long},a\nshort text,b\n"))

    assert _column(found, "field.text")[0] == long
    assert "1 rows have more than 100,000 characters; they were kept whole" in found.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n \n", "is empty"),
        (b"text,category\n", "has a header and no rows"),
        (b"\x00\x01\x02\xff\xfe\x03" * 500, "is binary"),
        (b"\x1f\x8b\x08 gzip", "a gzip file"),
        (b"PK\x03\x04 zip", "a zip archive"),
        (b"a,b\n1,2\n3,4\n", "no input column"),
        (b"text,number\nsome longer text,1\nother longer text,2\n", "no label column"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_was_found(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(_csv(tmp_path, content))


def test_a_file_without_any_label_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = _csv(tmp_path, "text,category\nonly text,\nnone either,\n")

    with pytest.raises(DataError, match=r"no row of .* can be used: 2× no label \(found ''\)"):
        read(file, mapping=Mapping(inputs=("text",), target=("category",)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nothing.csv")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\['title'\] were asked for; the data has \['text', 'category'\]"):
        read(_plain(tmp_path), mapping=Mapping(inputs=("title",)))


def test_the_target_cannot_be_an_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="read its own answer"):
        read(_plain(tmp_path), mapping=Mapping(inputs=("text", "category"), target=("category",)))


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'xml'"):
        read(_plain(tmp_path), kind="xml")


def test_nul_bytes_far_into_a_file_cost_one_row(tmp_path: Path) -> None:
    good = "".join(f"row number {i},{'ab'[i % 2]}\n" for i in range(8000)).encode()

    found = read(_csv(tmp_path, b"text,category\n" + good + b"bad\x00row,a\nlast row here,b\n"))

    assert found.rows.num_rows == 8001
    assert _reasons(found) == [(8002, "NUL bytes in the row")]


def test_json_lines_keep_broken_and_foreign_lines_aside(tmp_path: Path) -> None:
    body = (
        '{"text": "one two three", "label": "a"}\n{broken\n[1, 2]\n\n{"text": "\\ud800 half", "label": "b"}\n'
    )

    found = read(_csv(tmp_path, body, "d.jsonl"))

    assert _column(found, "field.text") == ["one two three", "? half"]
    assert [(line, reason[:16]) for line, reason in _reasons(found)] == [
        (2, "broken JSON: Exp"),
        (3, "not an object (f"),
    ]


def test_a_json_array_of_objects_is_read_like_lines(tmp_path: Path) -> None:
    body = json.dumps([{"text": "one two", "label": "a"}, 7, {"text": "three", "label": "b"}], indent=1)

    found = read(_csv(tmp_path, body, "d.json"))

    assert _column(found, "target") == ["a", "b"]
    assert _reasons(found) == [(2, "not an object (found int)")]


def test_a_broken_array_and_a_file_without_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is broken"):
        read(_csv(tmp_path, '[{"text": "one"', "d.json"))
    with pytest.raises(DataError, match="found none"):
        read(_csv(tmp_path, "hello\n", "d.jsonl"))


def test_values_of_other_types_become_text(tmp_path: Path) -> None:
    rows = [
        {"text": {"a": 1}, "label": 3, "n": 1},
        {"text": None, "label": True, "n": 2},
        {"text": 2.0, "label": 1.5, "n": 3},
    ]
    file = _csv(tmp_path, "\n".join(map(json.dumps, rows)), "d.jsonl")

    found = read(file, mapping=Mapping(inputs=("text",), target=("label",)))

    assert _column(found, "field.text") == ['{"a": 1}', "", "2"]
    assert _column(found, "target") == ["3", "true", "1.5"]


def test_parquet_is_read_and_class_label_numbers_become_names(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["one text", "two texts", "three"], "label": [0, 1, -1]})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "d.parquet"
    )

    found = read(tmp_path / "d.parquet")

    assert _column(found, "target") == ["no", "yes"]
    assert _reasons(found) == [(3, "no label (found '')")]


def test_a_damaged_parquet_file_and_binary_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing more")
    pq.write_table(pa.table({"blob": [b"\xff\xfe"], "label": ["a"]}), tmp_path / "blob.parquet")

    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="binary values"):
        read(tmp_path / "blob.parquet", mapping=Mapping(inputs=("blob",), target=("label",)))
    with pytest.raises(DataError, match="a Parquet file"):
        read(tmp_path / "blob.parquet", kind="csv")


def test_other_columns_are_mapped_by_name(tmp_path: Path) -> None:
    row = {
        **{
            "title": "coffee mill",
            "category": "kitchen",
            "incumbent": "kitchen",
            "human_1": "kitchen",
            "human_2": "",
        },
        **{"customer_id": "c1", "created_at": "2026-01-01", "latency_ms": 1500, "cost_usd": 0.002},
        **{"input_tokens": 10, "output_tokens": 3, "finish_reason": "stop", "split": "test"},
    }

    found = read(_csv(tmp_path, "\n".join([json.dumps(row)] * 3), "d.jsonl"))

    first = found.rows.drop_columns(["id"]).to_pylist()[0]
    assert first == {
        **{"field.title": "coffee mill", "target": "kitchen", "answer.incumbent": "kitchen"},
        **{"answer.human_1": "kitchen", "answer.human_2": None, "group": "c1", "time": "2026-01-01"},
        **{"finish_reason": "stop", "latency_s": 1.5, "cost_usd": 0.002, "input_tokens": 10.0},
        **{"output_tokens": 3.0, "split": "holdout", "source": "d.jsonl", "line": 1},
    }


def test_unknown_split_names_are_noted_and_left_free(tmp_path: Path) -> None:
    body = "text,label,part\none two,a,train\nthree,b,fold7\n"
    mapping = Mapping(inputs=("text",), target=("label",), split="part")

    found = read(_csv(tmp_path, body), mapping=mapping)

    assert _column(found, "split") == ["train", None]
    assert "1 rows name a split that is not train, validation or holdout" in found.notes


def test_the_users_test_file_is_pinned_and_joined(tmp_path: Path) -> None:
    train = read(_plain(tmp_path))
    test = read(_plain(tmp_path), mapping=train.mapping, split="holdout")

    both = join(train, test)

    assert both.rows.num_rows == 6
    assert len(set(_column(both, "id"))) == 6
    assert _column(both, "split") == [None, None, None, "holdout", "holdout", "holdout"]
    assert _column(both, "id")[:3] == _column(train, "id")


def test_a_test_file_may_lack_facts_about_calls_but_not_inputs(tmp_path: Path) -> None:
    mapping = Mapping(inputs=("text",), target=("category",), group="customer", humans=("human_1",))

    held = read(_plain(tmp_path), mapping=mapping, split="holdout")

    assert held.mapping.group is None
    assert held.mapping.humans == ()
    assert "'data.csv' has no columns ['customer', 'human_1']" in held.notes
    with pytest.raises(DataError, match=r"\['human_1', 'customer'\] were asked for"):
        read(_plain(tmp_path), mapping=mapping)
    with pytest.raises(DataError, match="were asked for"):
        read(_plain(tmp_path), mapping=Mapping(inputs=("title",), target=("category",)), split="holdout")


@pytest.mark.parametrize(
    ("content", "kind"),
    [('{"text": "one two", "label": "a"}\n', "jsonl"), ("text,label\none two,a\n", "csv")],
)
def test_a_file_without_a_known_ending_is_looked_into(tmp_path: Path, content: str, kind: str) -> None:
    mapping = Mapping(inputs=("text",), target=("label",))

    assert read(_csv(tmp_path, content, "data.txt"), mapping=mapping).rows.equals(
        read(_csv(tmp_path, content, "data.txt"), mapping=mapping, kind=kind).rows
    )


def test_joining_files_with_other_inputs_is_refused(tmp_path: Path) -> None:
    other = read(_csv(tmp_path, "title,category\nhello there,a\nbye,b\n", "other.csv"))

    with pytest.raises(DataError, match="input fields"):
        join(read(_plain(tmp_path)), other)
