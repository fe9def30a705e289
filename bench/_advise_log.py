"""A month of calls made from public data sets whose task is known: what `bench/advise.py` searches for tasks.

Inputs and answers are real; prompts are ours (`_advise_wordings`), filled with names, dates, numbers and retrieved
cases from call to call. No two wordings of a task share an input. Inputs repeat, as they do in production: 200,000
calls are made from about 30,000 distinct inputs. One call in a hundred failed, one in a hundred was refused.
"""

import csv
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from _advise_wordings import DEV, HELD_OUT, VOLUMES
from offramp.advise.calls import CALLS

BEGIN_S = 1_790_000_000.0
MONTH_S = 30 * 86_400.0
NAMES = (
    "Ana Ruiz", "Tom Becker", "Mei Lin", "Omar Haddad", "Julia Novak", "Sam Okoye", "Priya Nair", "Luca Bianchi",
    "Ida Holm", "Jack Doyle", "Yuki Sato", "Nora Weiss", "Paul Girard", "Zoe Martin", "Ivan Petrov", "Lea Fischer",
    "Carlos Vega", "Emma Scott", "Noah Levi", "Aisha Khan", "Erik Dahl", "Rosa Lopez", "Hugo Brandt", "Maya Singh",
)  # fmt: skip
COMPANIES = (
    "Northwind Ltd",
    "Contoso",
    "Fabrikam Bank",
    "Alder & Sons",
    "Blue Harbor",
    "Quill Media",
    "Tessera AG",
)
TOPICS = ("World", "Sports", "Business", "Sci/Tech")
_ASKS = {"what", "how", "can", "is", "are", "do", "does", "who", "when", "where", "why"}
Rows = list[tuple[str, str]]


def table_of(folder: Path, half: str, *, count: int, seed: int) -> tuple[pa.Table, np.ndarray, list[str]]:
    """Return calls in order of time, the task of each, and the tasks' names; `half` is "dev" or "held_out"."""
    tasks, loaders = (HELD_OUT, _held_out) if half == "held_out" else (DEV, _dev)
    names = list(tasks)
    rng = np.random.default_rng(seed)
    rows = loaders(folder)
    calls: dict[str, list[object]] = {k: [] for k in ("at", "system", "user", "answer", "turns", "status")}
    truth: list[int] = []
    wording_of: list[int] = []
    for number, (name, share) in enumerate(zip(names, VOLUMES[half], strict=True)):
        own = max(6, round(count * share))
        truth += [number] * own
        wording_of += _fill(calls, tasks[name], rows[name], count=own, rng=rng)
    order = np.argsort(np.array(calls["at"]), kind="stable")
    labels = np.array(truth)[order]
    tools = ["block_card,lookup_account,open_case" if names[t].endswith("_agent") else "" for t in labels]
    schema = ['{"properties":{"company":{},"date":{},"address":{},"total":{}}}' if names[t] == "receipt_fields" else ""
              for t in labels]  # fmt: skip
    columns = {key: pa.array(values).take(pa.array(order)) for key, values in calls.items()}
    answers = columns["answer"].to_pylist()
    columns |= {
        "id": pa.array([f"call-{seed}-{i:07d}" for i in range(len(labels))]),
        "model": pa.array(["gpt-4o"] * len(labels)),
        "tools": pa.array(tools),
        "schema": pa.array(schema),
        "tool_calls": pa.array([int(bool(t) and str(a).startswith("[{")) for t, a in zip(tools, answers, strict=True)]),
    }  # fmt: skip
    whole = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(len(labels), f.type) for f in CALLS
    ]
    return pa.Table.from_arrays(whole, schema=CALLS), labels, names


def _fill(
    calls: dict[str, list[object]], wordings: list[tuple[object, ...]], rows: Rows, *, count: int,
    rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Append `count` calls of one task and return the wording of each."""
    weights = np.array([w[3] * (w[5] - w[4]) for w in wordings], dtype=float)  # type: ignore[operator]
    picked = rng.choice(len(wordings), size=count, p=weights / weights.sum())
    for which in picked:
        system, user, style, _, start, end = wordings[which]
        part = float(rng.uniform(start, end))  # type: ignore[arg-type]
        own = rng.integers(0, -(-(len(rows) - which) // len(wordings)))
        text, answer = rows[which + own * len(wordings)]
        slots = _slots(part, rows, rng)
        status, said = "ok", _styled(answer, str(style))
        luck = rng.random()
        if luck < 0.01:
            status, said = "error", None
        elif luck < 0.02:
            said = "I'm sorry, but I can't help with that request."
        calls["at"].append(BEGIN_S + part * MONTH_S)
        calls["system"].append(str(system).format(**slots))
        calls["user"].append(str(user).format(input=text, **slots))
        calls["answer"].append(said)
        calls["turns"].append(int(rng.integers(1, 4)) * 2 if style == "text" and user == "{input}" else 2)
        calls["status"].append(status)
    return [int(w) for w in picked]


def _slots(part: float, rows: Rows, rng: np.random.Generator) -> dict[str, str]:
    """Return what differs from call to call."""
    day = 1 + int(part * 30)
    few = [rows[int(i)] for i in rng.integers(0, len(rows), 3)]
    letters = "".join(chr(65 + int(c)) for c in rng.integers(0, 26, 2))
    return {
        "name": NAMES[int(rng.integers(len(NAMES)))],
        "company": COMPANIES[int(rng.integers(len(COMPANIES)))],
        "date": (f"{day} September 2026", f"2026-09-{day:02d}", f"Sept {day}, 2026")[int(rng.integers(3))],
        "account": str(int(rng.integers(10**9, 10**10))),
        "ref": f"{letters}-{int(rng.integers(10**5))}",
        "number": str(int(rng.integers(1, 12))),
        "examples": "\n".join(f"- {text[:200]} -> {answer[:40]}" for text, answer in few),
    }


def _styled(answer: str, style: str) -> str:
    kind, _, rest = style.partition(":")
    if kind == "json" and rest:
        return json.dumps({rest: answer})
    return rest + answer if kind == "prefix" else answer


def _csv(path: Path) -> Iterable[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def _held_out(folder: Path) -> dict[str, Rows]:
    bank = [(r["text"], r["category"]) for r in _csv(folder / "banking77" / "train.csv")]
    news = [(r["text"], TOPICS[int(r["gt"]) % 4]) for r in _csv(folder / "noisy_ag_news" / "test_clean.csv")]
    clinic = list(_csv(folder / "mts_dialog" / "MTS-Dialog-TrainingSet.csv"))
    receipts = _lines(folder / "sroie_receipts" / "sroie.jsonl")
    scores = _lines(folder / "judge_summeval" / "summeval_mean_1600.jsonl")
    return {
        "bank_intent": bank,
        "news_topic": news,
        "clinic_note": [(r["dialogue"], r["section_text"]) for r in clinic],
        "clinic_header": [(r["dialogue"], r["section_header"]) for r in clinic],
        "receipt_fields": [(str(r["text"]), json.dumps(r["fields"])) for r in receipts],
        "redact": [_redacted(r) for r in json.loads((folder / "presidio_pii" / "synth_dataset_v2.json").read_text())],
        "same_product": _pairs(folder / "product_matching" / "Abt-Buy" / "train.txt"),
        "summary_score": [(f"Article: {r['source']}\n\nSummary: {r['candidate']}",
                           str(round(r["human"]["relevance"]))) for r in scores],  # type: ignore[index]
        "open_chat": _chats(folder / "chat_oasst_eval" / "outputs"),
        "bank_agent": [(text, _acted(text, intent)) for text, intent in bank],
        "bank_urgent": [(text, "yes" if any(w in intent for w in ("lost", "compromised", "stolen")) else "no")
                        for text, intent in bank],
        "news_names": [(text, json.dumps({"names": sorted({w for w in text.split()[3:] if w.istitle()})}))
                       for text, _ in news],
    }  # fmt: skip


def _redacted(row: dict[str, object]) -> tuple[str, str]:
    text = whole = str(row["full_text"])
    for span in sorted(row["spans"], key=lambda s: -s["start_position"]):  # type: ignore[attr-defined]
        text = (
            text[: span["start_position"]] + "{{" + span["entity_type"] + "}}" + text[span["end_position"] :]
        )
    return whole, text


def _pairs(path: Path) -> Rows:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        first, second, same = line.split("\t")
        found.append((f"A: {_offer(first)}\nB: {_offer(second)}", "yes" if same.strip() == "1" else "no"))
    return found


def _offer(text: str) -> str:
    return text.replace("COL ", "").replace(" VAL", ":")[:400]


def _chats(folder: Path) -> Rows:
    found = []
    for path in sorted(folder.glob("*gpt*.json")) + sorted(folder.glob("*llama2-70b*.json")):
        for prompt in json.loads(path.read_text(encoding="utf-8"))["prompts"]:
            outputs = prompt["results"][0]["outputs"]
            found.append((prompt["prompt"], outputs[0].replace("<|endoftext|>", "")))
    return found


def _acted(text: str, intent: str) -> str:
    tool = "block_card" if "card" in intent else "lookup_account" if "balance" in intent else "open_case"
    if len(text) % 5 == 0:
        return f"Could you tell me a bit more about your {intent.replace('_', ' ')}?"
    return json.dumps([{"name": tool, "arguments": {"reason": text[:60]}}])


@cache
def _dev(folder: Path) -> dict[str, Rows]:
    voice = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))["train"]
    offers = _lines(folder / "mwpd2020_product_gpc" / "train.jsonl")
    described = [
        (f"{r['Name']}\n{str(r['Description'])[:600]}", str(r["lvl1"]), str(r["Name"])) for r in offers
    ]
    quiz = [(r["prompt"], "ABCD"[len(r["prompt"]) % 4]) for path in sorted(
        (folder / "routing_routellm" / "mmlu").glob("*.csv"))[:20] for r in _csv(path)]  # fmt: skip
    sums = list(_csv(folder / "routing_routellm" / "gsm8k_responses.csv"))
    visits = [r for part in ("train", "valid", "clinicalnlp_taskB_test1", "clinicalnlp_taskC_test2")
              for r in _csv(folder / "aci_bench" / f"{part}.csv")]  # fmt: skip
    for visit in visits:
        visit["dialogue"] = visit["dialogue"].replace("[doctor]", "Doctor:").replace("[patient]", "Patient:")
    judged = [
        r
        for path in sorted((folder / "judge_llmbar").glob("LLMBar*.json"))
        for r in json.loads(path.read_text())
    ]
    chats = [(r["turns"][0], r["category"]) for r in _lines(folder / "routing_routellm" / "question.jsonl")]  # type: ignore[index]
    replies = {
        str(r["user_prompt"])[80:140]: str(r["judgment"])
        for r in _lines(folder / "routing_routellm" / "judgements.jsonl")
    }
    said = list(replies.values())
    return {
        "voice_intent": [(text, intent) for text, intent in voice],
        "product_category": [(text, label) for text, label, _ in described],
        "exam_answer": quiz,
        "word_problem": [(r["prompt"], r["gpt-4-1106-preview_response"]) for r in sums],
        "visit_note": [(r["dialogue"][:4000], r["note"]) for r in visits],
        "visit_complaint": [(r["dialogue"][:4000], " ".join(r["note"].split()[2:6])) for r in visits],
        "product_title": [(text, json.dumps({"title": name, "words": len(name.split())}))
                          for text, _, name in described],
        "which_better": [(f"Instruction: {r['input']}\n\nOutput 1: {r['output_1']}\n\nOutput 2: {r['output_2']}",
                          str(r["label"])) for r in judged],
        "mt_chat": [(text, said[i % len(said)]) for i, (text, _) in enumerate(chats)],
        "offer_used": [(text, "yes" if "used" in text.lower() else "no") for text, _, _ in described],
        "voice_question": [(text, "yes" if text.split()[0] in _ASKS else "no") for text, _ in voice],
        "device_agent": [(text, json.dumps([{"name": f"do_{intent[:3]}", "arguments": {}}])) for text, intent in voice],
    }  # fmt: skip
