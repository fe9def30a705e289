"""Names and reasons of curation rules, for people; a rule that is missing here shows its own name."""

RULES = {
    "clean": (
        "HTML and boilerplate",
        "Markup and shop-wide sentences carry nothing; serving cleans the same way.",
    ),
    "empty_input": ("Nothing to read", "A row without input cannot be answered by anyone."),
    "label_form": ("Labels in one form", "Case, spaces and separators differ; the label meant is the same."),
    "empty_answer": ("Empty label", "There is nothing to learn from it."),
    "truncated_answer": ("Label cut off", "The answer ended before the label did."),
    "refused_answer": ("Refusal instead of a label", "It answers another question."),
    "label_typo": ("Misspelled label", "Seen once, and one keystroke from a common label."),
    "unknown_label": ("Label outside the label set", "Set aside to be looked at, not deleted."),
    "leak": (
        "Repeats a row of the test data",
        "A model that has seen a test row would look better than it is.",
    ),
    "exact_duplicate": ("Exact duplicates", "Kept once, with a weight for how often it came."),
    "label_conflict": (
        "Same input, different labels",
        "Set aside to be looked at: at least one label is wrong.",
    ),
    "near_duplicate": ("Near duplicates", "Kept once, with a weight; the family stays in one split."),
    "off_task": ("Off task", "Far from every other row, and no neighbour shares its label."),
    "lexical_conflict": ("Nearly the same input, different labels", "One of the labels is likely wrong."),
    "label_error": (
        "Label likely wrong",
        "Models that never saw the row, and its neighbours, say another label.",
    ),
    "paraphrase_conflict": ("Said in other words, answered otherwise", "One of the answers is likely wrong."),
    "repeated_prompt": ("Text that all calls repeat", "It costs tokens and teaches nothing."),
    "personal_data": ("Personal data", "Placeholders stand in its place; serving puts them there as well."),
    "contamination": (
        "Repeats a named test set",
        "Training on a test set makes its score worthless.",
    ),
    "json_form": ("JSON in one form", "Order of keys and white space differ; no value does."),
    "cut_turn": ("Chat cut at its last whole turn", "The last turn ended before it was finished."),
    "relabel": ("Relabelled", "All opinions, or the row's near duplicates, favour another label."),
    "stray_markup": ("Markup in answers", "No other answers have any."),
    "empty_value": ("Empty answer", "There is nothing to learn from it."),
    "broken_json": ("Broken JSON", "The answer cannot be read."),
    "schema_drift": ("Another schema", "The answer's keys or types are not those of the rest."),
    "target_size": ("More rows than were asked for", "Rows that resemble others leave first."),
    "drift": ("The calls changed", "From this row on something is more or less frequent."),
    "review": ("Decided by people", "What somebody said in `offramp check`."),
    "echoed_prompt": ("Answer repeats the prompt", "There is nothing to learn from it."),
    "foreign_language": ("Not in a language of the data", "Few rows are: too few to learn from."),
    "cut_answer": ("Answer cut off", "It ended before it was finished."),
    "refusal": ("Refusal instead of an answer", "It would teach to refuse."),
    "damaged_encoding": ("Damaged characters", "The text was decoded with the wrong character set."),
    "synthetic": (
        "Rows made for labels with few",
        "For training only; each says who made it, of which rows, and when.",
    ),
    "gibberish": ("Gibberish", "Letters without words."),
}
"""Curation rules for people: title and reason."""
