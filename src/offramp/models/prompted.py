"""An LLM behind an endpoint as a candidate: told what to do, with or without examples.

What is asked and how answers are read stands in `asking`; here it is sent, counted and kept.
Trap: the price of an answer is in the tokens it took, not in this machine's time; `client.spent` counts them.
"""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from offramp import rows as _rows
from offramp.errors import ModelError
from offramp.models.asking import Asker, ExamplePool, Retrieve
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request
from offramp.models.labels import Embedder, load_model, save_model
from offramp.types import Frozen, Progress, Task, silent

ENGINE = "endpoint"
MOST_LOST, MOST_LOST_RATIO = 3, 0.05
"""Requests that may fail for good: so few are wrong answers; more are an outage, which says nothing of the model."""


class PromptSettings(Frozen):
    """How an endpoint is asked to do the task."""

    endpoint: Endpoint
    """Who is asked."""
    shots: int = Field(default=0, ge=0, le=64)
    """Examples shown per request; 0 = zero-shot."""
    instruction: str = ""
    """What to do, in words; empty: the task's own instruction, else a sentence for its kind."""
    max_tokens: int = Field(default=1024, gt=0)
    """Longest answer, hidden reasoning included."""


class NamedPrompt(PromptSettings):
    """A prompted model as a candidate of a workspace."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")
    """Short name of the candidate; no rung's and nobody else's."""

    @property
    def title(self) -> str:
        """Name for people."""
        shown = f"{self.shots} examples" if self.shots else "no examples"
        return f"{self.endpoint.model}, prompted with {shown}"


class EndpointModel:
    """Answers rows by asking an endpoint."""

    def __init__(
        self,
        settings: PromptSettings,
        task: Task,
        *,
        client: Client | None = None,
        retrieve: Retrieve | None = None,
    ) -> None:
        """Ask as `settings` say; `retrieve` gives the examples when there are shots.

        Raises:
            ConfigError: the endpoint's key is not set.
            DataError: shots without `retrieve`, or labels that cannot be listed.
        """
        self.asker = Asker(task, instruction=settings.instruction, shots=settings.shots, retrieve=retrieve)
        self.settings = settings
        self.task = task
        self.client = client or Client(settings.endpoint)

    def requests(self, rows: pa.Table) -> list[Request]:
        """Return what would be sent for these rows, for an estimate of the cost."""
        params = {"temperature": 0, "max_tokens": self.settings.max_tokens}
        return [
            Request(messages=asked.messages, schema=asked.schema, params=params)
            for asked in self.asker.ask(rows)
        ]

    def answer(self, rows: pa.Table, *, progress: Progress = silent) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order. A row that failed carries the reason.

        Raises:
            ModelError: the endpoint is not there or refuses.
        """
        said = self.client.complete(self.requests(rows), progress=progress, stage="answering")
        lost = [completion.error for completion in said if completion.text is None]
        if len(lost) > max(MOST_LOST, MOST_LOST_RATIO * len(said)):
            raise ModelError(
                f"{len(said)} answers were asked of {self.settings.endpoint.host}; {len(lost)} did not come, the "
                f"first: {lost[0]}; what came is kept, run again when the server is well"
            )
        read = [(None, one.error) if one.text is None else self.asker.read(one.text) for one in said]
        return _rows.answer_table(
            _rows.ids(rows),
            [text for text, _ in read],
            latency_s=[completion.latency_s for completion in said],
            error=[error for _, error in read],
        )

    def save(self, folder: Path, *, pool: ExamplePool | None = None) -> None:
        """Write settings and examples to a folder; the key is never among them."""
        facts = {
            "engine": ENGINE,
            "settings": self.settings.model_dump(mode="json"),
            "examples": None if pool is None else [list(pool.inputs), list(pool.targets)],
        }
        save_model(folder, facts, {} if pool is None else {"vectors": pool.vectors})

    @classmethod
    def load(
        cls, folder: Path, *, task: Task, embedder: Callable[[], Embedder], cache: Path | None = None
    ) -> "EndpointModel":
        """Read what `save` wrote; answers are kept in the folder `cache`."""
        facts, arrays = load_model(folder, ENGINE)
        settings = PromptSettings.model_validate(facts["settings"])
        retrieve = None
        if settings.shots and facts["examples"] is not None:
            inputs, targets = facts["examples"]
            pool = ExamplePool(tuple(inputs), tuple(targets), arrays["vectors"])
            retrieve = pool.retriever(embedder(), shots=settings.shots)
        return cls(settings, task, client=Client(settings.endpoint, cache=cache), retrieve=retrieve)
