"""Commands of production: `gateway`, `serve`, `deploy`, `rollback`, `traffic`, `keys`."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offramp.cli import tables
from offramp.cli.app import HERE, Folder, Json, Set, app, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offramp.production import Production
    from offramp.shadowing import ShadowReport
    from offramp.types import Deployment
    from offramp.workspace import Workspace

_DAY_S = 86_400.0
INCUMBENT = "incumbent"
"""Name of the upstream that `--upstream` gives."""


@app.command()
def gateway(
    folder: Folder = HERE,
    upstream: Annotated[
        str | None, typer.Option(help="The incumbent's API, e.g. https://api.openai.com/v1.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    set_: Set = None,
) -> None:
    """Answer OpenAI and Anthropic requests: recorded, shadowed or routed, as `offramp deploy` says; ends with Ctrl-C.

    Apps change one thing: their base_url. Until something is deployed every request goes to the upstream as it came.
    A folder that is no workspace yet becomes one when --upstream is given, so that recording can begin before anything.
    """
    from offramp.capture import masking
    from offramp.gateway.run import run
    from offramp.settings import FILE, Settings, checked
    from offramp.workspace import init

    if upstream is not None and not (folder / FILE).exists():
        kept = {"upstreams": ({"name": INCUMBENT, "base_url": upstream},)}
        init(folder, Settings.model_validate({"name": folder.resolve().name, "gateway": kept})).close()
    with opened(folder, set_, quiet=True) as workspace:
        settings = workspace.settings.gateway
        redact = masking(workspace.roster.redactor) if settings.capture.personal == "mask" else None
        path, alias = workspace.path, workspace.alias
    given: dict[str, Any] = {"host": host, "port": port, "alias": alias}
    if upstream is not None:
        given["upstreams"] = ({"name": INCUMBENT, "base_url": upstream},)
    fields = {**settings.model_dump(), **{name: value for name, value in given.items() if value is not None}}
    asked = checked(type(settings), fields, where="`offramp gateway`")
    _log_without([key for one in asked.upstreams if (key := os.environ.get(one.api_key_env or ""))])
    run(path, asked, redact=redact, ready=_listening)


def _log_without(secrets: list[str]) -> None:
    """Log to standard error, with no key in any line."""
    from offramp.web.allow import RedactingFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(
        RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", secrets=secrets)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _listening(address: str) -> None:
    print(f"listening on {address}", flush=True)


@app.command()
def serve(
    candidates: Annotated[
        list[str], typer.Argument(help="Who answers: names or ids; each is asked by its name.")
    ],
    folder: Folder = HERE,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8081,
    wish: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="host, unix_socket, ood=true, max_batch …"),
    ] = None,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve candidates behind an OpenAI-compatible API; an app written for a chat model needs no change.

    There are no keys here: it is meant for this machine, behind `offramp gateway`.
    """
    from offramp.cli.parse import assignments
    from offramp.serve import ServeSettings, run
    from offramp.settings import checked

    settings = checked(ServeSettings, {"port": port, **assignments(wish)}, where="`offramp serve`")
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    _log_without([])
    run(folder, candidates, settings=settings, ready=_listening)


def _end_with_parent() -> None:
    """Stop when whoever started this process is gone, however it went: then its end of our input closes."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


@app.command()
def deploy(  # noqa: PLR0913  each parameter is a flag
    candidate: Annotated[str | None, typer.Argument(help="Whom; default: the chosen candidate.")] = None,
    folder: Folder = HERE,
    shadow: Annotated[bool, typer.Option("--shadow", help="It answers too, unseen (the default).")] = False,
    share: Annotated[float | None, typer.Option(help="It answers this share of conversations, 0-1.")] = None,
    cascade: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR", help="It answers where it is sure; at most this share of that is wrong."
        ),
    ] = None,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Let it answer users without a proof.")
    ] = False,
    wish: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="url, private=true, hedge_s, sticky, threshold …"),
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Let a candidate answer from now on; running gateways follow within a second."""
    from offramp.cli.parse import assignments

    fields: dict[str, Any] = assignments(wish)
    if share is not None:
        fields |= {"mode": "full" if share >= 1 else "canary", "share": share}
    if cascade is not None:
        fields |= {"mode": "cascade", "max_error": cascade}
    if shadow:
        fields |= {"mode": "shadow"}
    if unproven:
        fields |= {"unproven": True}
    with opened(folder, set_, quiet=json) as workspace:
        found = workspace.deploy(candidate, **fields)
        _shown(found, json=json)


@app.command()
def rollback(
    folder: Folder = HERE,
    to: Annotated[int | None, typer.Option(help="Version to bring back; 0: the incumbent alone.")] = None,
    why: Annotated[str, typer.Option(help="A note for the record.")] = "",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Bring back who answered before the newest deployment; twice in a row goes back two."""
    with opened(folder, set_, quiet=json) as workspace:
        _shown(workspace.rollback(to=to, why=why), json=json)


@app.command()
def traffic(
    folder: Folder = HERE,
    days: Annotated[float, typer.Option(min=0, help="How far back to look.")] = 1.0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it again every two seconds.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write the calls as a log that `offramp init --from` reads.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Whose calls to write; default this task's.")] = None,
    json: Json = False,
) -> None:
    """Show who answered what, how fast and for how much, and what the pairs of a shadow prove so far."""
    from offramp.production import production

    since = time.time() - days * _DAY_S
    with opened(folder, None, quiet=True) as workspace:
        if to is not None:
            return _written(workspace, to, model or workspace.alias, since)
        while True:
            found = production(workspace.roster, since=time.time() - days * _DAY_S)
            if json:
                tables.as_json(found.plain())
            else:
                _table(found)
            if not follow:
                return None
            time.sleep(2)


def _written(workspace: "Workspace", path: Path, model: str, since: float) -> None:
    """Write captured calls that the incumbent answered as a log."""
    from offramp.capture import Calls, write_log

    settings = workspace.settings.gateway
    incumbent = settings.upstream(model)
    calls = Calls.of(workspace.path, settings.store)
    try:
        # A candidate's own answers must not become what the next one is compared with.
        done = write_log(
            calls, path, alias=model, answered_by=incumbent.name if incumbent else INCUMBENT, since=since
        )
    finally:
        calls.close()
    left = ", ".join(f"{count} {reason}" for reason, count in done.skipped.items())
    print(f"{done.written:,} calls written to {done.path}" + (f"; left out: {left}" if left else ""))


@app.command()
def keys(
    action: Annotated[str, typer.Argument(help="`list`, `add` or `revoke`.")] = "list",
    name: Annotated[str | None, typer.Argument(help="Whose key.")] = None,
    folder: Folder = HERE,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    usd_per_day: Annotated[float | None, typer.Option(help="Dollars a day.")] = None,
) -> None:
    """Give clients keys of the gateway's own; once there is one, requests without are refused."""
    from offramp.errors import ConfigError
    from offramp.gateway.run import KEYS
    from offramp.settings import load
    from offramp.web.keys import Keys

    load(folder)
    known = Keys.load(folder / KEYS)
    if action == "list":
        rows = [
            (one.name, one.requests_per_minute or "", one.usd_per_day or "", one.made_at)
            for one in known.clients
        ]
        return tables.as_table("keys", ("client", "requests a minute", "USD a day", "since"), rows)
    if action not in ("add", "revoke") or name is None:
        raise ConfigError(
            f"{action!r} {name!r} was asked for; there are `list`, `add NAME` and `revoke NAME`"
        )
    if action == "revoke":
        known.revoke(name)
        print(f"the key of {name!r} is no longer taken")
        return None
    print(known.add(name, requests_per_minute=per_minute, usd_per_day=usd_per_day))
    print("shown this once; only its hash is kept")
    return None


def _shown(found: "Deployment", *, json: bool) -> None:
    """Print a deployment."""
    if json:
        return tables.as_json(found)
    _deployments([found])
    if found.promise:
        said = found.promise
        print(
            f"it answers where its confidence is {found.threshold:.3f} or more, {said['coverage_ratio']:.0%} of the "
            f"validation rows; with {1 - said['delta']:.0%} certainty at most {said['limit']:.1%} of these answers are "
            f"{'wrong' if said['versus'] == 'target' else 'wrong more than the incumbent'}, on requests like those"
        )
    return None


def _deployments(found: "Sequence[Deployment]") -> None:
    rows = [
        (
            one.alias,
            one.version,
            one.mode,
            one.name or "",
            f"{one.share:.0%}" if one.mode in ("canary", "cascade", "shadow") else "",
            "" if one.threshold is None else f"{one.threshold:.3f}",
            one.created_at.strftime("%Y-%m-%d %H:%M"),
            one.why if one.restores is None else f"rolled back to {one.restores}; {one.why}".rstrip("; "),
        )
        for one in found
    ]
    heads = ("alias", "version", "mode", "candidate", "share", "from confidence", "since (UTC)", "why")
    tables.as_table("who answers", heads, rows)


def _table(found: "Production") -> None:
    """Print the state of production."""
    from offramp.production import TRAFFIC, traffic_rows

    _deployments(found.deployments)
    tables.as_table("traffic", TRAFFIC, traffic_rows(found.traffic))
    for alias, shadow in found.shadows.items():
        print(f"{alias}: {_pairs(shadow)}")
    for alias, audit in found.audits.items():
        state = "BROKEN, roll back" if audit["broken"] else "holds so far"
        print(
            f"{alias}: {audit['audited']} answers of the cascade were judged, {audit['loss']:.1%} wrong; promised were "
            f"{audit['limit']:.1%}: {state} (p = {audit['p_value']:.3g})"
        )


def _pairs(shadow: "ShadowReport") -> str:
    same = (
        f"{shadow.same} of {shadow.pairs} answers are the incumbent's too" if shadow.pairs else "no pairs yet"
    )
    if not shadow.scored or shadow.difference is None or shadow.low is None or shadow.high is None:
        return f"{same}; none has a right answer yet (send feedback), so nothing is proven"
    state = "as good as the incumbent" if shadow.certified else "not proven yet"
    return (
        f"{same}; {shadow.scored} with a right answer: {100 * shadow.difference:+.1f} pt "
        f"[{100 * shadow.low:+.1f}, {100 * shadow.high:+.1f}] against a margin of {100 * shadow.margin:g} pt: {state}"
    )
