"""Train-serve parity: the same passes, each planted mismatch is caught and named; `bench/parity.py` asks vLLM."""

import http.server
import json
import shutil
import threading
from collections import Counter
from dataclasses import replace

import pytest

from offramp.errors import DataError, ModelError
from offramp.handover.parity import ROUNDED, Options, Thresholds, parity
from offramp.handover.subjects import GeneratorSubject, HttpSubject, Prompt, Seen, TransformersSubject
from offramp.models.generation import Generator
from offramp.render import Renderer
from tiny_decoder import make_adapter, make_base

WORDS = "card payment receipt shop label text bread milk total late".split()
PROMPTS = [
    Prompt(
        ({"role": "system", "content": f"You name {a}."}, {"role": "user", "content": f"the {b} and {a}?"})
    )
    for a in WORDS[:6]
    for b in WORDS
]
TOKENS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("parity") / "base")


@pytest.fixture(scope="module")
def adapter(base):
    return make_adapter(base.parent / "adapter", base)


@pytest.fixture(scope="module")
def renderer(base):
    """The base's renderer, with what this random model says most as its stop tokens, so that answers end."""
    plain = Renderer.load(base)
    seen = TransformersSubject.load(base, plain).ask(PROMPTS[:20], max_tokens=TOKENS, top=5)
    common = Counter(token for each in seen for token in set(each.answer[1:]))
    return replace(plain, stop_ids=tuple(token for token, _ in common.most_common(8)))


@pytest.fixture(scope="module")
def trained(base, adapter, renderer):
    return TransformersSubject.load(base, renderer, adapter=adapter)


@pytest.fixture(scope="module")
def answers(trained):
    return trained.ask(PROMPTS, max_tokens=TOKENS, top=5)


def check(trained, answers, subject, **options):
    options = Options(decode=trained.renderer.decode, reference_seen=answers, **options)
    return parity(trained, subject, PROMPTS, max_tokens=TOKENS, options=options)


def test_the_trained_model_is_the_same_as_itself(trained, answers):
    found = check(trained, answers, trained)

    assert found.passed, str(found)
    assert (found.identical, found.same_prompts, found.same_ends) == (60, 60, 60)
    assert found.logprob_gap == 0.0
    assert found.identical_low == pytest.approx(0.94, abs=0.01)
    assert json.loads(json.dumps(found.to_dict()))["passed"] is True
    assert any(seen.finish == "stop" for seen in answers)


def test_the_in_process_engine_is_the_same_as_the_trained_model(base, adapter, renderer, trained, answers):
    generator = Generator.load(base, adapters={"tuned": adapter}, renderer=renderer)

    found = check(trained, answers, GeneratorSubject("engine", generator, adapter="tuned"))

    assert found.passed, str(found)
    assert found.logprob_gap < 1e-4


def test_a_changed_template_is_caught_and_named(trained, answers, base, renderer):
    changed = renderer.template.replace("<|im_start|>", "<|im_start|> ")
    other = replace(Renderer.load(base, template=changed), stop_ids=renderer.stop_ids)

    found = check(trained, answers, replace(trained, renderer=other))

    assert not found.passed
    assert found.same_prompts == 0
    assert any("`template_sha256`" in problem for problem in found.problems)
    assert any("reads other tokens" in problem and "chat templates" in problem for problem in found.problems)


def test_a_missing_stop_token_is_caught_and_named(trained, answers, renderer):
    endless = replace(trained, renderer=replace(renderer, stop_ids=(1,)))

    found = check(trained, answers, endless)

    ended = sum(seen.finish == "stop" for seen in answers)
    assert found.same_ends == 60 - ended
    assert any("go on after the trained model's end" in problem for problem in found.problems)
    assert found.differences[0].kind == "end"
    assert "<end>" in found.differences[0].reference


@pytest.mark.parametrize(("alpha", "rslora"), [(16, False), (4, False), (8, True), (0, False)])
def test_a_wrong_adapter_scaling_is_caught(trained, answers, adapter, tmp_path, alpha, rslora):
    base, renderer = adapter.parent / "base", trained.renderer
    shutil.copytree(adapter, tmp_path / "wrong")
    file = tmp_path / "wrong" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": alpha, "use_rslora": rslora}))

    found = check(
        trained, answers, TransformersSubject.load(base, renderer, adapter=tmp_path / "wrong", name="wrong")
    )

    assert any("adapter scaling" in problem for problem in found.problems)


class TwiceBegun:
    """A server that puts the start token in front of prompts that have one."""

    name = "twice begun"

    def __init__(self, subject, start):
        self.subject, self.start = subject, start

    @property
    def identity(self):
        return self.subject.identity

    def ask(self, prompts, *, max_tokens, top, progress=None):
        found = []
        for prompt in prompts:
            ids = [self.start, *self.subject.renderer.prompt(prompt.messages)]
            found.append(self.subject._greedy(ids, max_tokens, top))
        return found


def test_a_double_start_token_is_caught_and_named(base, adapter, renderer, trained):
    first = renderer.prompt(PROMPTS[0].messages)[0]
    answers = trained.ask(PROMPTS, max_tokens=TOKENS, top=5)

    found = check(trained, answers, TwiceBegun(trained, first))

    assert found.same_prompts == 0
    assert any("double BOS" in problem for problem in found.problems)


class Said:
    """A subject that says what it was told to."""

    def __init__(self, name, seen):
        self.name, self.seen, self.identity = name, seen, {}

    def ask(self, prompts, *, max_tokens, top, progress=None):
        return list(self.seen)


def said(n, *, wrong=0, gap=0.0, finish="stop", first=True):
    """`n` answers of two tokens, `wrong` of them another."""
    chances = {7: -0.1 + gap, 8: -3.0} if first else {}
    return [Seen((1, 2), (7, 9 if i < wrong else 8), finish, chances) for i in range(n)]


def compared(served, *, n=200, **options):
    options = Options(decode=lambda ids: "".join(map(str, ids)), **options)
    return parity(Said("a", said(n)), Said("b", served), [Prompt(())] * n, options=options)


def test_one_other_answer_in_a_hundred_is_within_the_threshold():
    assert compared(said(200, wrong=2)).problems == ()
    assert compared(said(200, wrong=3)).problems == ("197 of 200 answers are identical; 99.0% were expected",)


def test_a_small_gap_of_log_probabilities_is_rounding_and_a_large_one_is_not():
    assert compared(said(200, gap=0.009)).passed
    problem = compared(said(200, gap=0.02)).problems[0]
    assert "differ by up to 0.02" in problem
    assert compared(said(200, gap=0.2), thresholds=ROUNDED).passed


def test_a_gap_that_is_not_a_number_fails():
    assert not compared(said(200, gap=float("nan"))).passed


def test_a_likely_token_that_the_subject_does_not_tell_counts():
    served = [replace(seen, first={7: -0.1, 5: -9.0}) for seen in said(200)]

    assert compared(served).logprob_gap == 6.0


def test_what_was_not_measured_is_a_problem():
    assert "tells no log-probabilities" in compared(said(200, first=False)).problems[0]
    assert compared(said(200, first=False), thresholds=Thresholds(logprob=None)).passed
    cut = Said("cut", said(60, finish="length"))
    assert "no answer of the trained model ended" in parity(cut, cut, [Prompt(())] * 60).problems[0]
    assert "too few" in compared(said(20), n=20).problems[0]


def test_the_score_change_has_an_interval_and_can_fail():
    def score(texts):
        return [float(text == "78") for text in texts]

    found = compared(said(200, wrong=2), score=score)

    assert found.score is not None
    assert (found.score.reference, found.score.subject, found.score.scored) == (1.0, 0.99, 200)
    assert found.score.low < -0.01 < found.score.high < 0.02
    assert found.passed
    strict = Thresholds(score_loss=0.01)
    assert (
        "loss of more than 0.01" in compared(said(200, wrong=2), score=score, thresholds=strict).problems[0]
    )


def test_words_tell_a_person_what_differs():
    text = str(compared(said(200, wrong=3)))

    assert text.splitlines()[0] == "b against a: FAILED"
    assert "197 of 200 identical token by token (95 % interval 95.7% to 99.5%)" in text
    assert "prompt 0, the answer differs at token 1:" in text
    assert "trained '7' '8' <end>" in text
    assert "served  '7' '9' <end>" in text


def test_no_prompts_is_an_error():
    with pytest.raises(DataError, match="needs prompts"):
        parity(Said("a", []), Said("b", []), [])


# What vLLM 0.32 replied to the two ways of asking, cut to what is read.
CHAT = {
    "prompt_token_ids": [1, 5, 6],
    "choices": [
        {
            "finish_reason": "stop",
            "token_ids": [7, 8, 2],
            "logprobs": {
                "content": [
                    {"token": "token_id:7", "top_logprobs": [
                        {"token": "token_id:7", "logprob": -0.1}, {"token": "token_id:9", "logprob": -2.5}]}
                ]
            },
        }
    ],
}  # fmt: skip
PLAIN = {
    "choices": [
        {
            "finish_reason": "length",
            "prompt_token_ids": [1, 5],
            "token_ids": [7, 8],
            "logprobs": {"top_logprobs": [{"token_id:7": -0.1, "token_id:9": -2.5}]},
        }
    ],
}


@pytest.fixture
def server():
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def reply(self, status, value):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def do_GET(self):
            self.reply(404, {"error": "there is none"})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            if body["model"] == "refused":
                return self.reply(400, {"error": {"message": "max_tokens is too large"}})
            replies = {"/v1/chat/completions": CHAT, "/v1/completions": PLAIN}
            return self.reply(200, {"choices": [{}]} if body["model"] == "other" else replies[self.path])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/v1", asked
        running.shutdown()
        thread.join()


def test_a_server_is_asked_in_both_ways_and_its_end_token_left_out(server, renderer):
    url, asked = server
    chat = HttpSubject("vllm", url, "tuned", renderer).ask(PROMPTS[:1], max_tokens=4, top=5)
    ids = HttpSubject("vllm", url, "tuned", renderer, send="ids").ask(PROMPTS[:1], max_tokens=4, top=5)

    assert chat == [Seen((1, 5, 6), (7, 8), "stop", {7: -0.1, 9: -2.5})]
    assert ids == [Seen((1, 5), (7, 8), "length", {7: -0.1, 9: -2.5})]
    assert asked[0][1]["messages"] == [dict(message) for message in PROMPTS[0].messages]
    assert asked[1][1]["prompt"] == renderer.prompt(PROMPTS[0].messages)
    assert asked[1][1]["temperature"] == 0


def test_a_server_that_shows_no_tokens_cannot_pass(server, renderer):
    with pytest.raises(ModelError, match="token parity cannot be shown"):
        HttpSubject("other", server[0], "other", renderer).ask(PROMPTS[:1], max_tokens=4, top=5)


def test_a_refusal_is_told_with_the_servers_words(server, renderer):
    with pytest.raises(ModelError, match=r"400.*max_tokens is too large"):
        HttpSubject("vllm", server[0], "refused", renderer).ask(PROMPTS[:1], max_tokens=4, top=5)


def test_a_server_that_hides_its_template_is_compared_by_tokens_alone(server, renderer):
    assert HttpSubject("vllm", server[0], "tuned", renderer).identity == {}
