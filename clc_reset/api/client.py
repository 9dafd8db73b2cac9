"""The calls of the CLC v2 API, and the one decision that matters: what may be sent twice.

A reset is a forced power cycle. It can't be taken back and isn't idempotent, so `reset_servers`
sends one POST, and sends it again only where `may_be_repeated` says that the first one can't have
arrived.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

from clc_reset import threads
from clc_reset.api import answers
from clc_reset.api.transport import (
    Answer,
    Exchange,
    NoAnswer,
    Request,
    Transport,
    codes,
)
from clc_reset.errors import (
    CHECK_THE_NETWORK,
    AuthenticationError,
    ClcError,
    Interrupted,
    RefusedError,
    UnreachableError,
)
from clc_reset.identifiers import DEFAULT_BASE_URL
from clc_reset.models import (
    Credential,
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerGroup,
)
from clc_reset.text import describe, sentence

PAUSES = (0.5, 1.0)
"""Seconds before the second and the third try, the last one."""
READ_PAUSES = (1.0, 2.0)
"""The same for what is only read: a 500 was a 200 two seconds later (recorded)."""
TRYING_SECONDS = 30.0
"""No try begins later than this after the first one began."""
ANSWER_SECONDS = 180.0
"""How long the answer to a reset may take: calls of about a minute are reported."""
LOGIN_SECONDS = 60.0
POLL_SECONDS = 60.0
READ_SECONDS = 60.0
LOOK_SECONDS = 10.0
LARGEST_STATUS = 2**16
"""In bytes: an answer to Get Status has one field."""

_RENEW = "Run: clc login, or renew the token in CLC_TOKEN or CLC_TOKEN_FILE."
_NOT_REPEATED_BY_ITSELF = (
    "A login is not tried again by itself: three wrong passwords in a row lock the user."
)


def may_be_repeated(outcome: Answer | NoAnswer) -> bool:
    """Whether a reset may be sent again. Only if the first one can't have reached the API.

    | what happened                     | again | because                                     |
    |-----------------------------------|-------|---------------------------------------------|
    | name not resolved, connection     | yes   | the request is written after all of these   |
    | refused, TLS, proxy tunnel failed |       |                                             |
    | 429                               | yes   | the API says that it did not take it        |
    | 429 that speaks of servers queued | no    | it was taken, or nobody knows               |
    | connection dropped, read timeout  | no    | the API may be at work on it                |
    | 500, 502, 503, 504                | no    | a gateway may have lost the answer only     |
    | 2xx that can't be read, 3xx       | no    | it was taken, or nobody knows               |
    | any other 4xx                     | no    | it was refused, and would be again          |
    | interrupted                       | no    | the user said stop                          |
    """
    if isinstance(outcome, NoAnswer):
        return outcome.never_left and outcome.signum is None
    return outcome.status == codes.TOO_MANY_REQUESTS and not answers.is_about_servers(outcome.body)


class Client:
    """The API at one origin, for nobody until `authorize` says as whom.

    `origin` is what `identifiers.api_origin` made of the base URL. `on_exchange` is told of each
    request, `on_note` of what the user should hear meanwhile. `clock` counts seconds from
    anywhere, `wall_clock` since 1970; `answer_seconds` limits the wait for a reset's answer,
    `read_seconds` that for groups.

    Raises UnreachableError if the environment's proxy or certificates can't be used, and
    UsageError if the origin has no host that can be one.
    """

    def __init__(
        self,
        origin: str,
        stop: threads.Stop,
        *,
        on_exchange: Callable[[Exchange], None],
        on_note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        answer_seconds: float = ANSWER_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._transport = Transport(origin, stop, on_exchange, clock, wall_clock)
        self._stop = stop
        self._on_note = on_note
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._read_seconds = read_seconds

    def authorize(self, token: str) -> Self:
        """Act with a token from now on."""
        self._transport.authorize(token)
        return self

    @property
    def offset(self) -> timedelta | None:
        """The API's clock less this machine's, by the latest answer; None if it never told."""
        return self._transport.offset

    def __enter__(self) -> Self:
        """Nothing is connected before the first request."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections that wait for a request."""
        self._transport.close()

    # --- log in --------------------------------------------------------------------------------

    def log_in(self, username: str, password: str) -> Credential:
        """Exchange a password for a token that lives 14 days. Sent once, whatever happens.

        Three or four wrong passwords in a row lock the user (documented).

        Raises AuthenticationError (refused), UnreachableError or RefusedError (no usable answer),
        and Interrupted.
        """
        self._stop.check()
        content = {"username": username, "password": password}
        outcome = self._transport.exchange(
            Request("POST", "/v2/authentication/login", content, LOGIN_SECONDS, secret=password)
        )
        if isinstance(outcome, NoAnswer):
            self._stop.check()
            if outcome.never_left:
                raise self._unreachable(outcome.reason)
            raise RefusedError(
                f"The login got no answer: {outcome.reason}.", hint=_NOT_REPEATED_BY_ITSELF
            )
        clean = partial(self._transport.clean, secret=password)
        words = self._words(outcome, clean)
        match outcome.status:
            case codes.OK:
                credential = answers.credential(outcome.body, username, clean)
                if credential is not None:
                    return credential
                raise RefusedError(
                    "The login was answered (200), but without a usable token.",
                    hint="Is CLC_BASE_URL the address of the CLC API? "
                    "Nothing was sent but the login.",
                )
            case codes.BAD_REQUEST | codes.UNAUTHORIZED | codes.FORBIDDEN as status:
                raise AuthenticationError(
                    sentence(f"The login as {username} was refused ({status}){words}"),
                    hint=f"Check the user name and the password.\n{_NOT_REPEATED_BY_ITSELF}",
                )
            case status:
                raise RefusedError(
                    sentence(f"The login got no usable answer ({status}){words}"),
                    hint="Try again later. Nothing was sent but the login.",
                )

    # --- reset ---------------------------------------------------------------------------------

    def reset_servers(
        self,
        account: str,
        servers: Sequence[str],
        *,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        """Reset servers, given in upper case and each once, in one POST that is sent once.

        `tick` is told each second how many seconds the POST has been out. Raises nothing: what
        happened, and what is certain of the sending, is in the answer.
        """
        path = f"/v2/operations/{account}/servers/reset"
        request = Request("POST", path, list(servers), self._answer_seconds)
        is_certain = True  # that no POST has arrived
        outcome: Answer | NoAnswer
        try:
            began, pauses = self._clock(), iter(PAUSES)
            while True:
                self._stop.check()
                is_certain = False
                outcome = self._transport.exchange(request, tick)
                is_certain = may_be_repeated(outcome)
                if not is_certain or not self._wait(outcome, pauses, began):
                    break
            return self._reset_answer(outcome, account, servers)
        except Interrupted as error:  # raised only before a try, so nothing is out there
            return ResetAnswer.not_sent(servers, signum=error.signum)
        except Exception as error:  # whatever it was, it may be out there
            why = self._transport.clean(describe(error))
            if is_certain:
                return ResetAnswer.not_sent(servers, self._unreachable(why))
            return ResetAnswer.maybe_sent(servers, why)

    def _wait(self, outcome: Answer | NoAnswer, pauses: Iterator[float], began: float) -> bool:
        """Wait before the next try; False if there is none, or no time for it."""
        pause = next(pauses, math.inf)
        if isinstance(outcome, Answer):
            why = "The API asked to wait (429)."
            if outcome.retry_after is not None and pause < math.inf:
                pause = outcome.retry_after
        else:
            why = f"{self._transport.way} was not reached: {outcome.reason}."
        if self._clock() - began + pause > TRYING_SECONDS:
            return False
        with suppress(Exception):  # what only shows changes nothing
            self._on_note(f"{why} Trying again in {pause:g} s.")
        self._stop.sleep(pause)
        return True

    def _reset_answer(
        self, outcome: Answer | NoAnswer, account: str, servers: Sequence[str]
    ) -> ResetAnswer:
        if isinstance(outcome, NoAnswer):
            signum = outcome.signum
            if not outcome.never_left:
                lost = ResetAnswer.maybe_sent(servers, outcome.reason, signum)
                return lost._replace(seconds=outcome.seconds)
            signum = signum or self._stop.signum
            error = None if signum else self._unreachable(outcome.reason)
            return ResetAnswer.not_sent(servers, error, signum)
        status = outcome.status
        sent_at = outcome.date and outcome.date - timedelta(seconds=outcome.seconds)
        entities = answers.entities(outcome.body)
        was_taken = codes.is_success(status)
        if entities or (was_taken and entities is not None):
            resolve, clean = self._transport.target, self._transport.clean
            return answers.reconcile(servers, entities, resolve, clean, sent_at)
        if codes.is_client_error(status) and not answers.is_about_servers(outcome.body):
            may_not = f"reset servers in account {account}"
            return ResetAnswer.not_sent(servers, self._refusal(outcome, account, may_not))
        problem = f"the API answered {status}"
        if was_taken or codes.is_client_error(status):
            problem = f"the answer ({status}) can't be read"
        problem += self._words(outcome)
        return ResetAnswer.maybe_sent(servers, problem, sent_at=sent_at)

    # --- get status ----------------------------------------------------------------------------

    def operation(self, account: str, operation_id: str) -> Operation:
        """An operation by its id, where nothing is known of its status link."""
        path = f"/v2/operations/{account}/status/{operation_id}"
        return Operation(operation_id, path, account.upper())

    def operation_status(self, operation: Operation) -> OperationStatus | NoNews:
        """Ask for an operation's status, once, by the link that came with it.

        May be called by several threads at a time. Raises AuthenticationError if the token is
        not accepted (401, 403).
        """
        if operation.path is None:
            return NoNews("its status link leads away from the API and isn't followed")
        request = Request("GET", operation.path, None, POLL_SECONDS, largest=LARGEST_STATUS)
        outcome = self._transport.ask(request)
        if isinstance(outcome, NoAnswer):
            return NoNews(outcome.reason, unreachable=outcome.never_left)
        match outcome.status:
            case codes.OK:
                told = answers.operation_status(outcome.body, self._transport.clean)
                return told or NoNews("the answer (200) can't be read")
            case codes.UNAUTHORIZED | codes.FORBIDDEN as status:
                words = self._words(outcome)
                raise AuthenticationError(
                    sentence(f"The API refused the token while waiting ({status}){words}"),
                    hint=_RENEW,
                )
            case status:
                return NoNews(
                    f"the API answered {status}{self._words(outcome)}",
                    slow_down=status in {codes.TOO_MANY_REQUESTS, codes.SERVICE_UNAVAILABLE},
                    not_found=status == codes.NOT_FOUND,
                    retry_after=outcome.retry_after or None,
                )

    # --- servers and groups --------------------------------------------------------------------

    def server(self, account: str, server: str) -> Observation:
        """Look at a server, given in upper case, once, for ten seconds at the most.

        May be called by several threads at a time. Raises nothing: where there is nothing to see,
        `problem` says why.
        """
        path = f"/v2/servers/{account}/{server}"
        outcome = self._transport.ask(Request("GET", path, None, LOOK_SECONDS))
        if isinstance(outcome, NoAnswer):
            return Observation(server, problem=outcome.reason)
        seen_at = outcome.date
        match outcome.status:
            case codes.OK:
                entity, clean = answers.decode(outcome.body), self._transport.clean
                seen = answers.observation(entity, server, clean, seen_at)
                problem = "the answer (200) can't be read"
                return seen or Observation(server, seen_at, problem=problem)
            case codes.UNAUTHORIZED:
                problem = "the API refused the token (401)"
            case codes.FORBIDDEN:
                problem = "this user may not see it (403)"
            case codes.NOT_FOUND:
                problem = "the API knows no such server (404)"
            case status:
                problem = f"the API answered {status}{self._words(outcome)}"
        return Observation(server, seen_at, problem=problem)

    def groups(self, account: str, *, detailed: bool = False) -> list[ServerGroup]:
        """The groups of an account: by data centre, then in the API's order, servers by their ids.

        In detail each group has what its servers show. Each data centre has a root group of its
        own, nested to the bottom; they are asked for at once.

        Raises AuthenticationError, UnreachableError, RefusedError, also for an answer that can't be
        read in full, and Interrupted.
        """
        clean = self._transport.clean
        (answer,) = self._read(account, [f"/v2/datacenters/{account}?groupLinks=true"])
        roots = sorted(answers.root_groups(answer.body, clean))
        query = "?serverDetail=detailed" if detailed else ""
        paths = [f"/v2/groups/{account}/{root}{query}" for _, root in roots]
        return [
            group
            for (datacenter, _), answer in zip(roots, self._read(account, paths), strict=True)
            for group in answers.nested_groups(
                answer.body, datacenter, clean, answer.date, detailed=detailed
            )
        ]

    def _read(self, account: str, paths: Sequence[str]) -> list[Answer]:
        """The answers to GETs in an account, in their order, each tried three times at the most."""
        found: dict[str, Answer] = {}
        began, pauses = self._clock(), iter(READ_PAUSES)
        while left := [path for path in paths if path not in found]:
            failed = []
            for path, outcome in zip(left, self._asked(left), strict=True):
                if isinstance(outcome, Answer) and outcome.status == codes.OK:
                    found[path] = outcome
                elif isinstance(outcome, Answer) and not _may_pass(outcome.status):
                    raise self._read_error(outcome, account)
                else:
                    failed.append(outcome)
            if failed:
                asked_for = [each.retry_after or 0.0 for each in failed if isinstance(each, Answer)]
                pause = max(next(pauses, math.inf), *asked_for, 0.0)
                if self._clock() - began + pause > TRYING_SECONDS:
                    raise self._read_error(failed[-1], account)
                self._stop.sleep(pause)
        return [found[path] for path in paths]

    def _asked(self, paths: Sequence[str]) -> list[Answer | NoAnswer]:
        seconds = self._read_seconds
        requests = [Request("GET", path, None, seconds) for path in paths]
        try:
            return threads.gather(
                [partial(self._transport.ask, each) for each in requests], seconds, self._stop
            )
        except TimeoutError:
            return [NoAnswer(f"no answer within {seconds:g} s", never_left=False)] * len(paths)

    # --- words ---------------------------------------------------------------------------------

    def _read_error(self, outcome: Answer | NoAnswer, account: str) -> ClcError:
        if isinstance(outcome, Answer):
            return self._refusal(outcome, account, f"see the groups of account {account}")
        if outcome.never_left:
            return self._unreachable(outcome.reason)
        return RefusedError(
            f"The API gave no answer: {outcome.reason}.",
            hint="Try again later. No server was reset.",
        )

    def _refusal(self, answer: Answer, account: str, may_not: str) -> ClcError:
        words = self._words(answer)
        match answer.status:
            case codes.UNAUTHORIZED:
                return AuthenticationError(
                    sentence(f"The API refused the token (401){words}"), hint=_RENEW
                )
            case codes.FORBIDDEN:
                message = sentence(f"This user may not {may_not} (403){words}")
                return AuthenticationError(
                    f"{message} Nothing was reset.",
                    hint="AccountAdmin, ServerAdmin and ServerOperator may. See: clc whoami",
                )
            case codes.NOT_FOUND:
                hint = f"Is {account} the right account alias? Name another with -a."
            case codes.TOO_MANY_REQUESTS:
                hint = "Wait, then run it again: no server was reset."
            case _:
                hint = "No server was reset."
        message = sentence(f"The API refused the request ({answer.status}){words}")
        return RefusedError(message, hint=hint)

    def _unreachable(self, reason: str) -> UnreachableError:
        hint = f"{CHECK_THE_NETWORK} No server was reset."
        if self._transport.origin == DEFAULT_BASE_URL:
            hint += (
                "\nCenturyLink Cloud closed on 30 September 2023; to run a cloud of your own: "
                "clc sandbox"
            )
        return UnreachableError(f"{self._transport.way} was not reached: {reason}.", hint=hint)

    def _words(self, answer: Answer, clean: answers.Clean | None = None) -> str:
        """The words of an error's body after a colon; nothing if it has none."""
        words = answers.reason(answer.body, clean or self._transport.clean)
        return f": {words}" if words else ""


def _may_pass(status: int) -> bool:
    """Whether what was refused may be granted a moment later."""
    return status == codes.TOO_MANY_REQUESTS or status >= codes.INTERNAL_SERVER_ERROR
