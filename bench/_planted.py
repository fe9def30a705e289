"""Rows with defects planted by seed, and the manifest that says where: what `bench/curate.py` measures against.

Detectors get the table only. Foreign sentences and refusals are written by hand by the same people as the detectors'
word lists, so they are easier than the world's; gibberish and cuts are drawn. Clean rows are the public data as it is,
with its own oddities, so a "false" finding may be a true one.
"""

import base64
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

Row = dict[str, Any]


@dataclass(frozen=True)
class Planted:
    """A table, and which defect each planted row has."""

    rows: pa.Table
    """What detectors see."""
    manifest: dict[str, str]
    """Row id to defect."""


def read(folder: Path, name: str, count: int) -> list[Row]:
    """Return up to `count` clean rows of a public data set as input text and answer."""
    if name == "banking77":
        with (folder / name / "train.csv").open(encoding="utf-8", newline="") as file:
            pairs = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    elif name == "clinc150":
        whole = json.loads((folder / name / "data_full.json").read_text(encoding="utf-8"))
        pairs = [(text, label) for text, label in whole["train"]]
    else:
        with (folder / name / "MTS-Dialog-TrainingSet.csv").open(encoding="utf-8", newline="") as file:
            pairs = [(row["dialogue"], row["section_text"]) for row in csv.DictReader(file)]
    order = np.random.default_rng(0).permutation(len(pairs))[:count]
    return [{"text": pairs[i][0], "target": pairs[i][1]} for i in order]


def as_json(rows: list[Row]) -> list[Row]:
    """Return the rows with answers as JSON objects of one schema."""
    return [
        row
        | {
            "target": json.dumps(
                {"answer": row["target"], "words": len(row["target"].split()), "language": "en"}
            )
        }
        for row in rows
    ]


def plant(rows: list[Row], shares: dict[str, float], *, seed: int, finish_reason: bool = False) -> Planted:
    """Give shares of the rows one defect each; no row has two."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(rows)).tolist()
    made = [dict(row) for row in rows]
    manifest: dict[str, str] = {}
    for defect, share in shares.items():
        for _ in range(round(share * len(rows))):
            at = order.pop()
            made[at] |= DEFECTS[defect](made[at], draw)
            manifest[f"r{at}"] = defect
    columns: dict[str, Any] = {
        "id": [f"r{i}" for i in range(len(made))],
        "field.text": [row["text"] for row in made],
        "target": [row["target"] for row in made],
    }
    if finish_reason:
        cut = {row for row, defect in manifest.items() if defect == "truncated"}
        columns["finish_reason"] = ["length" if row in cut else "stop" for row in columns["id"]]
    return Planted(pa.table(columns), manifest)


def _language(row: Row, draw: np.random.Generator) -> Row:
    sentences = FOREIGN[list(FOREIGN)[draw.integers(len(FOREIGN))]]
    long = len(row["text"].split()) > 40
    picked = draw.choice(len(sentences), draw.integers(4, 9) if long else 1, replace=False)
    return {"text": " ".join(sentences[i] for i in picked)}


def _gibberish(row: Row, draw: np.random.Generator) -> Row:
    kind = draw.integers(5)
    size = max(15, len(row["text"]))
    if kind == 0:  # hands on the home row
        keys = list("asdfghjkl") + list("asdfjkl;")
        words = ["".join(draw.choice(keys, draw.integers(3, 10))) for _ in range(size // 6)]
        return {"text": " ".join(words)}
    if kind == 1:  # any letters
        letters = list("abcdefghijklmnopqrstuvwxyz")
        words = ["".join(draw.choice(letters, draw.integers(2, 10))) for _ in range(size // 6)]
        return {"text": " ".join(words)}
    if kind == 2:
        return {"text": str(draw.choice(list("aehlxz."))) * size}
    if kind == 3:
        return {"text": base64.b64encode(draw.bytes(max(36, size))).decode()}
    words = row["text"].split()  # the letters of each word in another order
    return {"text": " ".join("".join(draw.permutation(list(word))) for word in words[::-1])}


def _empty(row: Row, draw: np.random.Generator) -> Row:
    column = ("text", "target")[draw.integers(2)]
    return {column: ("", " ", "\n\n", "\u200b", "...", "-", "\t")[draw.integers(7)]}


def _schema(row: Row, draw: np.random.Generator) -> Row:
    value = json.loads(row["target"])
    kind = draw.integers(6)
    if kind == 0:
        del value[str(draw.choice(list(value)))]
    elif kind == 1:
        value["note"] = "see above"
    elif kind == 2:
        value["words"] = str(value["words"])
    elif kind == 3:
        value["result"] = value.pop("answer")
    elif kind == 4:
        return {"target": value["answer"]}
    else:
        return {"target": row["target"].replace('"words":', "words:").replace(", ", ",, ", 1)}
    return {"target": json.dumps(value)}


def _truncated(row: Row, draw: np.random.Generator) -> Row:
    text = row["target"].rstrip()
    # At a token limit: anywhere, often inside a word, never within the last characters.
    return {"target": text[: max(1, int(len(text) * draw.uniform(0.3, 0.95)))]}


def _truncated_at_word(row: Row, draw: np.random.Generator) -> Row:
    text = _truncated(row, draw)["target"]
    end = text.rfind(" ")
    return {"target": text[:end].rstrip() if end > 0 else text}


def _refusal(row: Row, draw: np.random.Generator) -> Row:
    return {"target": REFUSALS[draw.integers(len(REFUSALS))]}


DEFECTS: dict[str, Callable[[Row, np.random.Generator], Row]] = {
    "language": _language,
    "gibberish": _gibberish,
    "empty": _empty,
    "schema": _schema,
    "truncated": _truncated,
    "truncated_at_word": _truncated_at_word,
    "refusal": _refusal,
}
"""How each defect changes a row."""

FOREIGN = {
    "fr": [
        "Pourquoi mon paiement a-t-il été refusé hier soir ?",
        "Ma carte n'est toujours pas arrivée.",
        "Quel temps fera-t-il demain à Lyon ?",
        "J'ai mal à la tête depuis trois jours.",
        "Pouvez-vous annuler le virement que j'ai fait ce matin ?",
        "Rappelle-moi d'acheter du pain.",
        "Combien coûte un billet pour Marseille ?",
        "Le patient prend deux comprimés par jour.",
        "Je voudrais changer mon code secret.",
        "Mets une alarme à sept heures.",
    ],
    "de": [
        "Warum wurde meine Überweisung abgelehnt?",
        "Ich habe meine Karte verloren.",
        "Wie wird das Wetter morgen in Berlin?",
        "Seit gestern habe ich starke Schmerzen im Rücken.",
        "Stell bitte einen Wecker auf sieben Uhr.",
        "Wann kommt mein Geld endlich an?",
        "Ich möchte meinen Termin verschieben.",
        "Welche Gebühren fallen bei einer Zahlung im Ausland an?",
        "Der Arzt hat mir ein neues Mittel verschrieben.",
        "Kannst du mir ein gutes Restaurant empfehlen?",
    ],
    "es": [
        "¿Por qué no funciona mi tarjeta?",
        "Necesito cambiar la dirección de mi cuenta.",
        "Me duele mucho la garganta desde ayer.",
        "¿Cuánto tarda una transferencia al extranjero?",
        "Pon una alarma para las seis de la mañana.",
        "Quiero cancelar el pago que hice anoche.",
        "¿Qué tiempo hace hoy en Sevilla?",
        "El paciente no tiene alergias conocidas.",
        "Reserva una mesa para cuatro personas.",
        "No recuerdo mi contraseña.",
    ],
    "it": [
        "Perché la mia carta è stata rifiutata?",
        "Vorrei sapere quando arriva il bonifico.",
        "Che tempo fa domani a Torino?",
        "Ho la febbre da due giorni e non dormo.",
        "Puoi prenotare un tavolo per stasera?",
        "Non riesco ad accedere al mio conto.",
        "Quanto costa ritirare contanti all'estero?",
        "Il dottore mi ha detto di riposare.",
        "Metti una sveglia per le otto.",
        "Devo cambiare il numero di telefono.",
    ],
    "pt": [
        "Por que o meu cartão ainda não chegou?",
        "Preciso de trocar a minha senha.",
        "Qual é a previsão do tempo para amanhã?",
        "Estou com dor nas costas há uma semana.",
        "Quero cancelar a transferência de ontem.",
        "O paciente não fuma e não bebe.",
        "Põe um alarme para as sete.",
        "Quanto dinheiro tenho na conta?",
        "Onde fica o banco mais próximo?",
        "Não consigo entrar na aplicação.",
    ],
    "nl": [
        "Waarom is mijn betaling geweigerd?",
        "Ik ben mijn pas kwijt.",
        "Wat voor weer wordt het morgen?",
        "Ik heb al drie dagen hoofdpijn.",
        "Zet de wekker op zeven uur.",
        "Hoe lang duurt een overschrijving?",
        "Kun je een tafel reserveren voor vier personen?",
        "De dokter heeft mij nieuwe pillen gegeven.",
        "Ik wil mijn adres wijzigen.",
        "Waar kan ik geld opnemen?",
    ],
    "pl": [
        "Dlaczego moja karta nie działa?",
        "Chcę zmienić hasło do konta.",
        "Jaka będzie jutro pogoda w Krakowie?",
        "Od wczoraj boli mnie głowa.",
        "Kiedy dojdzie mój przelew?",
        "Proszę odwołać wizytę u lekarza.",
        "Nie mogę zalogować się do aplikacji.",
        "Ustaw budzik na siódmą.",
        "Ile kosztuje wypłata za granicą?",
        "Pacjent nie ma uczuleń.",
    ],
    "ru": [
        "Почему мой платёж отклонили?",
        "Я потерял карту.",
        "Какая завтра погода?",
        "У меня болит голова уже три дня.",
        "Отмените, пожалуйста, перевод.",
        "Поставь будильник на семь утра.",
        "Где ближайший банкомат?",
        "Пациент принимает две таблетки в день.",
        "Когда придут деньги?",
        "Я хочу сменить пароль.",
    ],
    "zh": [
        "我的卡为什么还没到？",
        "明天天气怎么样？",
        "我头疼三天了。",
        "请取消我昨天的转账。",
        "附近有银行吗？",
        "我想修改密码。",
        "早上七点叫我起床。",
        "病人没有过敏史。",
        "手续费是多少？",
        "帮我订一张去北京的票。",
    ],
    "ar": [
        "لماذا تم رفض بطاقتي؟",
        "أريد تغيير كلمة المرور.",
        "كيف سيكون الطقس غدا؟",
        "أعاني من صداع منذ ثلاثة أيام.",
        "أين أقرب صراف آلي؟",
        "أرجو إلغاء التحويل.",
        "متى يصل المال؟",
        "المريض لا يدخن.",
        "اضبط المنبه على السابعة.",
        "لا أستطيع تسجيل الدخول.",
    ],
}
"""Sentences of users and patients, by language."""

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I cannot provide medical advice. Please consult a qualified professional.",
    "As an AI language model, I am unable to summarize this conversation.",
    "Sorry, I can't assist with this request.",
    "I'm not able to process this text because it contains personal health information.",
    "Unfortunately, I cannot complete this task as it may violate our usage policies.",
    "I apologize, but I'm unable to answer this question.",
    "I must respectfully decline to classify this message.",
    "I don't feel comfortable answering this. Is there something else I can help you with?",
    "This request goes against my guidelines, so I won't be able to continue.",
    "I'm just an AI and do not have the ability to determine the intent of this customer.",
    "I do not have enough information to give a category.",
    "Thank you for your message. However, I can't generate a summary of private conversations.",
    "My apologies, but that is not something I can do.",
    "I'm afraid I can't do that.",
    "I am not authorized to share details about patients.",
    "It would be inappropriate for me to comment on this.",
    "We are unable to fulfill your request at this time.",
    "I'd rather not answer that one.",
    "Regrettably, this falls outside what I am allowed to discuss.",
    "As a large language model, I don't have access to real-time data.",
    "I won't engage with this topic.",
    "That content is not something I'm able to produce.",
    "No, I will not summarize this.",
]
"""Refusals. The detector's wordings were widened after two of these were missed: recall here is optimistic."""
