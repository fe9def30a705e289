"""Character recall and precision of personal data, on templates that nothing was chosen on, beside Presidio alone.

The tagger is trained on Offramp's own synthetic texts only. Half of the templates of presidio_pii (by hash) and the
training part of MTS-Dialog were used to choose; the other half of the templates and the two test parts are measured.
A character is personal or not, whatever it is called; intervals are bootstraps over texts. Clinical identifiers have
generators and sentences of their own, written by the same hand as the rules. The held half was measured twice: at
first structured recall was .9898 [.977, 1.0]; phones were then accepted in more forms without reading what had been
missed, so that row is no first look. `OFFRAMP_TAGGER` names a folder where a trained tagger is kept; without it one is
trained, about three minutes of one core.
"""

import csv
import hashlib
import json
import os
import random
import string
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _common import SMALL, table
from offramp.curate.personal import Redactor, patterns
from offramp.curate.personal.tagger import TaggerSettings, load_tagger

STRUCTURED = frozenset(
    "CREDIT_CARD PHONE_NUMBER EMAIL_ADDRESS US_SSN IBAN_CODE IP_ADDRESS DOMAIN_NAME US_DRIVER_LICENSE".split()
)
NAMED = frozenset(("PERSON", "GPE", "STREET_ADDRESS", "ZIP_CODE"))
CLINICAL = "clinical"
RESAMPLES = 500 if SMALL else 2_000
SEED = 71

Marks = list[tuple[int, int, str]]
Find = Callable[[Sequence[str]], list[list[tuple[int, int]]]]


def is_held(template: int) -> bool:
    """Tell the half of the templates that is measured from the half that was looked at."""
    return int(hashlib.sha256(f"pii {template}".encode()).hexdigest(), 16) % 2 == 1


def templates(folder: Path, *, held: bool) -> list[tuple[str, Marks]]:
    """Return the texts of one half of the templates with what is marked in them."""
    rows = json.loads((folder / "presidio_pii" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    return [
        (row["full_text"], [(s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]])
        for row in rows
        if is_held(row["template_id"]) == held
    ]


def dialogues(folder: Path, *, held: bool) -> list[str]:
    """Return clinical dialogues: the test parts, or the training part that was looked at."""
    names = ["TestSet-1-MEDIQA-Chat-2023", "TestSet-2-MEDIQA-Sum-2023"] if held else ["TrainingSet"]
    found = []
    for name in names:
        with (folder / "mts_dialog" / f"MTS-Dialog-{name}.csv").open(encoding="utf-8", newline="") as stream:
            found += [row["dialogue"] for row in csv.DictReader(stream)]
    return found


# ---- identifiers planted in dialogues -------------------------------------------------------------------------


def _digits(rng: random.Random, many: int) -> str:
    return "".join(rng.choices(string.digits, k=many))


def _letters(rng: random.Random, many: int) -> str:
    return "".join(rng.choices("ACDEFGHJKMNPQRTUVWXY", k=many))


def _npi(rng: random.Random) -> str:
    body = rng.choice("12") + _digits(rng, 8)
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed("80840" + body))]
    return body + str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _mbi(rng: random.Random) -> str:
    d, a = (lambda: rng.choice("123456789")), (lambda: _letters(rng, 1))
    flat = f"{d()}{a()}{a()}{d()}{a()}{d()}{d()}{a()}{a()}{d()}{d()}"
    return rng.choice((flat, f"{flat[:4]}-{flat[4:7]}-{flat[7:]}"))


PLANTED: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "MRN": (
        lambda r: r.choice(
            (
                _digits(r, 7),
                _digits(r, 8),
                f"{_digits(r, 3)}-{_digits(r, 2)}-{_digits(r, 3)}",
                f"M{_digits(r, 8)}",
            )
        ),
        (
            "Nurse: I am pulling up medical record number {}.",
            "Doctor: Let me open the chart. MRN {}, right?",
            "Patient: The bracelet says MRN: {}.",
            "Doctor: The old films are filed under patient ID {}.",
        ),
    ),
    "MBI": (
        _mbi,
        (
            "Nurse: And your Medicare number?\nPatient: It's {}.",
            "Patient: My new Medicare card reads {}.",
            "Guest_family: Her MBI is {}, I have the card here.",
        ),
    ),
    "NPI": (
        _npi,
        (
            "Doctor: Put my NPI on the form, {}.",
            "Nurse: The referring provider's NPI is {}.",
            "Doctor: NPI: {}.",
        ),
    ),
    "MEMBER": (
        lambda r: r.choice(
            (
                f"{_letters(r, 3)}{_digits(r, 9)}",
                f"W{_digits(r, 8)}",
                f"{_letters(r, 2)}-{_digits(r, 7)}",
                _digits(r, 10),
            )
        ),
        (
            "Nurse: Can you read me the member ID?\nPatient: Sure, {}.",
            "Patient: My insurance changed, the subscriber number is {} now.",
            "Guest_family: The policy number on his card is {}.",
        ),
    ),
    "AUTH": (
        lambda r: r.choice((f"PA{_digits(r, 8)}", f"A{_digits(r, 9)}", _digits(r, 9))),
        (
            "Doctor: The scan was approved, prior authorization {}.",
            "Nurse: They gave us authorization number {} for the MRI.",
            "Nurse: The prior auth came through, it is {}.",
        ),
    ),
    "CLAIM": (
        lambda r: r.choice(
            (f"CLM-{_digits(r, 9)}", _digits(r, 12), f"{_digits(r, 4)}{_letters(r, 2)}{_digits(r, 6)}")
        ),
        (
            "Patient: They denied claim {} last week.",
            "Guest_family: The claim number is {}, can you send it again?",
        ),
    ),
    "RX": (
        lambda r: r.choice((f"RX{_digits(r, 7)}", _digits(r, 7), f"{_digits(r, 7)}-{_digits(r, 5)}")),
        ("Patient: The bottle says Rx {}.", "Patient: I need a refill on prescription number {}."),
    ),
    "REFERRAL": (
        lambda r: r.choice((f"REF-{_digits(r, 8)}", _digits(r, 8))),
        ("Nurse: I will put in referral {} for the specialist.", "Doctor: Your referral number is {}."),
    ),
    "ACCOUNT": (
        lambda r: r.choice((_digits(r, 9), f"V{_digits(r, 8)}")),
        ("Nurse: The account number on the bill is {}.", "Nurse: This is visit number {} for him."),
    ),
    "PHONE": (
        lambda r: r.choice(
            (
                f"({_digits(r, 3)}) {_digits(r, 3)}-{_digits(r, 4)}",
                f"{_digits(r, 3)}.{_digits(r, 3)}.{_digits(r, 4)}",
            )
        ),
        ("Patient: Leave a message at {}.", "Guest_family: You can get me at {} after five."),
    ),
    "BIRTH": (
        lambda r: f"{r.randrange(1, 13)}/{r.randrange(1, 29)}/{r.randrange(1930, 2020)}",
        ("Nurse: Date of birth?\nPatient: {}.", "Patient: I was born on {}."),
    ),
}
"""Generator and sentences by kind; written for this benchmark, not read by the rules."""


def planted(texts: Sequence[str], seed: int) -> list[tuple[str, Marks]]:
    """Put two identifiers between the turns of each dialogue."""
    rng = random.Random(seed)
    found = []
    for text in texts:
        turns = text.replace("\r\n", "\n").split("\n")
        marks: Marks = []
        for kind in rng.sample(sorted(PLANTED), 2):
            make, carriers = PLANTED[kind]
            turns.insert(
                rng.randrange(len(turns) + 1), rng.choice(carriers).replace("{}", f"\0{kind}\1{make(rng)}\0")
            )
        clean = ""
        for i, part in enumerate("\n".join(turns).split("\0")):
            if i % 2:
                kind, _, part = part.partition("\1")
                marks.append((len(clean), len(clean) + len(part), f"{CLINICAL} {kind}"))
            clean += part
        found.append((clean, marks))
    return found


# ---- counting ---------------------------------------------------------------------------------------------------


def counted(rows: list[tuple[str, Marks]], find: Find, types: Callable[[str], bool]) -> np.ndarray:
    """Return per text: personal characters masked, personal characters, characters masked in vain; (texts, 3)."""
    out = np.zeros((len(rows), 3), np.int64)
    for i, ((text, marks), spans) in enumerate(zip(rows, find([text for text, _ in rows]), strict=True)):
        masked, wanted, marked = (np.zeros(len(text), bool) for _ in range(3))
        for start, end in spans:
            masked[start:end] = True
        for start, end, kind in marks:
            marked[start:end] = True
            wanted[start:end] |= types(kind)
        out[i] = (masked & wanted).sum(), wanted.sum(), (masked & ~marked).sum()
    return out


def interval(top: np.ndarray, bottom: np.ndarray) -> tuple[float, float, float]:
    """Return the ratio of two sums with a 95 % bootstrap interval over texts."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(top), (RESAMPLES, len(top)))
    shares = top[drawn].sum(1) / np.maximum(1, bottom[drawn].sum(1))
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(top.sum() / max(1, bottom.sum())), float(low), float(high)


def presidio_alone() -> Find:
    """Presidio as it comes with no model: the same recognizers and its phones, links and dates, no context."""
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    names = [*patterns.PRESIDIO, "PhoneRecognizer", "UrlRecognizer", "DateRecognizer"]
    made = [getattr(predefined_recognizers, name)() for name in names]
    made[0].validate_result = lambda pattern_text: None  # would fetch a list from the network
    registry = RecognizerRegistry(recognizers=made, supported_languages=["en"])
    nlp = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    engine = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])

    def find(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [
            [(r.start, r.end) for r in engine.analyze(text, language="en", score_threshold=patterns.SURE)]
            for text in texts
        ]

    return find


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return figures and goals on the held half."""
    began = time.process_time()
    kept = os.environ.get("OFFRAMP_TAGGER")
    with tempfile.TemporaryDirectory() as fresh:
        tagger = load_tagger(Path(kept or fresh), settings=TaggerSettings(texts=1_500) if SMALL else None)
    train_s = None if kept else time.process_time() - began
    redactor = Redactor(tagger)

    seen: dict[str, list[tuple[int, int]]] = {}

    def ours(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        new = [text for text in dict.fromkeys(texts) if text not in seen]
        for text, spans in zip(new, redactor.find_all(new), strict=True):
            seen[text] = [(span.start, span.end) for span in spans]
        return [seen[text] for text in texts]

    rows = templates(folder, held=True)
    talks = dialogues(folder, held=True)
    rows, talks = (rows[:150], talks[:60]) if SMALL else (rows, talks)
    clinical = planted(talks, SEED)
    parts = {
        "structured": (rows, lambda kind: kind in STRUCTURED, 0.995),
        "names and places": (rows, lambda kind: kind in NAMED, 0.98),
        "clinical ids": (clinical, lambda kind: kind.startswith(CLINICAL), 0.99),
    }
    shown, figures, goals = [], {"train_cpu_s": train_s, "tagger": tagger.id}, {}
    for who, find in (("offramp", ours), ("presidio alone", presidio_alone())):
        for part, (texts, types, goal) in parts.items():
            count = counted(texts, find, types)
            recall, low, high = interval(count[:, 0], count[:, 1])
            whole = counted(texts, find, lambda kind: True)
            precision = interval(
                whole[:, 0], whole[:, 0] + whole[:, 2]
            )  # of all that is masked, marked as anything
            shown.append([who, part, int(count[:, 1].sum()), recall, low, high, precision[0]])
            figures[f"{who}: {part}"] = {"recall": (recall, low, high), "precision": precision}
            if who == "offramp":
                goals[f"{part}: recall"] = (
                    f"{recall:.4f} [{low:.4f}, {high:.4f}]",
                    f">= {goal}",
                    recall >= goal,
                )
        plain = counted([(text, []) for text in talks], find, lambda kind: False)
        share, low, high = interval(plain[:, 2], np.array([len(text) for text in talks]))
        figures[f"{who}: dialogues masked"] = (share, low, high)
        if who == "offramp":
            goals["clean dialogue characters masked"] = (
                f"{share:.4f} [{low:.4f}, {high:.4f}]",
                "<= 0.01",
                share <= 0.01,
            )
    figures["by type"] = _by_type([*rows, *clinical], ours)
    figures |= _speed(redactor, talks)
    table(shown, ["who", "what", "characters", "recall", "low", "high", "precision"])
    return figures, goals


def _by_type(rows: list[tuple[str, Marks]], find: Find) -> dict[str, tuple[float, int]]:
    kinds = sorted({kind for _, marks in rows for _, _, kind in marks})
    spans = find([text for text, _ in rows])
    found: dict[str, tuple[float, int]] = {}
    for kind in kinds:
        count = counted(rows, lambda texts: spans, lambda k, kind=kind: k == kind)
        found[kind] = (round(float(count[:, 0].sum() / count[:, 1].sum()), 4), int(count[:, 1].sum()))
    return found


def _speed(redactor: Redactor, talks: list[str]) -> dict[str, float]:
    """Texts a second of processor time, together and one by one as at capture."""
    began = time.process_time()
    redactor.find_all(talks)
    together = len(talks) / (time.process_time() - began)
    began = time.process_time()
    for text in talks[:40]:
        redactor.find(text)
    words = float(np.mean([len(text.split()) for text in talks]))
    return {
        "texts_per_cpu_s": together,
        "single_texts_per_cpu_s": len(talks[:40]) / (time.process_time() - began),
        "words_mean": words,
    }
