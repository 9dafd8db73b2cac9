"""The calls of the CLC v2 API, and the one decision that matters: what may be sent twice.

A reset is a forced power cycle. It can't be taken back and isn't idempotent, so `reset_servers`
sends one POST, and sends it again only where `may_be_repeated` says that the first one can't have
arrived.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

from clc_reset import answers
from clc_reset.errors import AuthenticationError, Interrupted, RefusedError, UnreachableError
from clc_reset.models import (
    DEFAULT_BASE_URL,
    Credential,
    NoNews,
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerResult,
    ServerState,
    printable,
)
from clc_reset.transport import Answer, Exchange, NoAnswer, Request, Transport, codes, interrupted

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
LARGEST_STATUS = 2**16
"""In bytes: an answer to Get Status has one field."""
LONGEST_REASON = 500
"""In characters: a 500 may carry a stack trace of 4 kB."""

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
    | connection dropped, read timeout  | no    | the API may be at work on it                |
    | 500, 502, 503, 504                | no    | a gateway may have lost the answer only     |
    | 2xx that can't be read, 3xx       | no    | it was taken, or nobody knows               |
    | any other 4xx                     | no    | it was refused, and would be again          |
    | interrupted                       | no    | the user said stop                          |
    """
    if isinstance(outcome, NoAnswer):
        return outcome.never_left and outcome.signum is None
    return outcome.status == codes.TOO_MANY_REQUESTS


class Api:
    """The API at one origin, for nobody until `authorize` says as whom.

    `origin` is what `models.api_origin` made of the base URL. `on_exchange` is told of each
    request, `on_note` of what the user should hear meanwhile. `clock` counts seconds from
    anywhere, `wall_clock` since 1970; `answer_seconds` limits the wait for a reset's answer.

    Raises UnreachableError where the environment's proxy or certificates can't be used, and
    UsageError where the origin has no host that can be one.
    """

    def __init__(  # noqa: PLR0913 - two callbacks, and what a test replaces
        self,
        origin: str,
        *,
        on_exchange: Callable[[Exchange], None],
        on_note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._transport = Transport(origin, on_exchange, clock)
        self._on_note = on_note
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._answer_seconds = answer_seconds

    def authorize(self, token: str) -> Self:
        """Act with a token from now on."""
        self._transport.authorize(token)
        return self

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
        self._transport.close()

    def log_in(self, username: str, password: str) -> Credential:
        """Exchange a password for a token that lives 14 days. Sent once, whatever happens.

        Three or four wrong passwords in a row lock the user (documented).

        Raises AuthenticationError (refused), UnreachableError or RefusedError (no usable answer).
        """
        outcome = self._transport.exchange(
            Request(
                "POST",
                "/v2/authentication/login",
                {"username": username, "password": password},
                LOGIN_SECONDS,
                secret=password,
            )
        )
        if isinstance(outcome, NoAnswer):
            if outcome.signum is not None:
                raise Interrupted(outcome.signum)
            if outcome.never_left:
                raise self._unreachable(outcome)
            raise RefusedError(
                f"The login got no answer: {outcome.reason}.", hint=_NOT_REPEATED_BY_ITSELF
            )
        match outcome.status:
            case codes.BAD_REQUEST | codes.UNAUTHORIZED | codes.FORBIDDEN:
                raise AuthenticationError(
                    f"The login as {username} was refused ({outcome.status})"
                    f"{self._words(outcome, before=': ') or '.'}",
                    hint=f"Check the user name and the password.\n{_NOT_REPEATED_BY_ITSELF}",
                )
            case codes.OK:
                return self._credential(outcome.body, username)
            case status:
                raise RefusedError(
                    f"The login got no usable answer ({status})"
                    f"{self._words(outcome, before=': ') or '.'}",
                    hint="Try again later. Nothing was sent but the login.",
                )

    def reset_servers(self, account: str, servers: Sequence[str]) -> ResetAnswer:
        """Reset servers, given in upper case and each once, in one POST that is sent once.

        Raises UnreachableError, RefusedError or AuthenticationError where it is certain that no
        server was reset, and Interrupted where a signal came before anything was sent. Everything
        else that can happen is in the answer.
        """
        outcome = self._send_until_it_may_have_arrived(account, servers)
        if isinstance(outcome, NoAnswer):
            if outcome.never_left:
                if outcome.signum is None:
                    raise self._unreachable(outcome)
                raise Interrupted(outcome.signum, "No server was reset.")
            return _unknown(servers, outcome.reason, outcome.signum)
        entities = answers.entities(outcome.body)
        status = outcome.status
        refused = codes.BAD_REQUEST <= status < codes.INTERNAL_SERVER_ERROR
        # reported: the same array in a 400
        taken = codes.OK <= status < codes.MULTIPLE_CHOICES or (
            status == codes.BAD_REQUEST and entities
        )
        if taken and entities is not None:
            return self._without_secrets(answers.reconcile(servers, entities))
        if refused:
            raise self._refusal(outcome, account)
        words = self._words(outcome, before=": ")
        if taken:
            return _unknown(servers, f"the answer ({status}) can't be read{words}")
        return _unknown(servers, f"the API answered {status}{words}")

    def operation_status(self, operation: Operation) -> OperationStatus | NoNews:
        """Ask for an operation's status, once, by the link that came with it.

        May be called by several threads at a time. Raises AuthenticationError where the token is
        not accepted (401, 403), and RefusedError where the link leads away from the API.
        """
        target = self._transport.target(operation.href)
        if target is None:
            raise RefusedError("The status link leads away from the API, and is not followed.")
        outcome = self._transport.ask(
            Request("GET", target, None, POLL_SECONDS, largest=LARGEST_STATUS)
        )
        if isinstance(outcome, NoAnswer):
            return NoNews(outcome.reason, unreachable=outcome.never_left)
        match outcome.status:
            case codes.UNAUTHORIZED | codes.FORBIDDEN as status:
                raise AuthenticationError(
                    f"The API refused the token while waiting ({status})"
                    f"{self._words(outcome, before=': ') or '.'}",
                    hint=_RENEW,
                )
            case codes.OK:
                told = answers.operation_status(outcome.body)
                return told or NoNews("the answer (200) can't be read")
            case status:
                return NoNews(
                    f"the API answered {status}{self._words(outcome, before=': ')}",
                    slow_down=status in {codes.TOO_MANY_REQUESTS, codes.SERVICE_UNAVAILABLE},
                    retry_after=self._retry_after(outcome, 0.0) or None,
                )

    def read(self, account: str, path: str) -> bytes:
        """The body of the answer to a GET in an account, tried three times at the most.

        May be called by several threads at a time, and keeps no connection on which a reset that
        comes after it could get lost. Raises AuthenticationError (401, 403),
        UnreachableError, or RefusedError, where there is no answer with something to read.
        """
        request = Request("GET", path, None, READ_SECONDS)
        began = self._clock()
        outcome = self._transport.exchange(request)
        for pause in READ_PAUSES:
            if isinstance(outcome, Answer):
                if not _may_pass(outcome.status):
                    break
                pause = self._retry_after(outcome, pause)  # noqa: PLW2901 - it knows better
            if self._clock() - began + pause > TRYING_SECONDS:
                break
            self._sleep(pause)
            outcome = self._transport.exchange(request)
        if isinstance(outcome, NoAnswer):
            if outcome.never_left:
                raise self._unreachable(outcome)
            raise RefusedError(
                f"The API gave no answer: {outcome.reason}.",
                hint="Try again later. No server was reset.",
            )
        if outcome.status != codes.OK:
            raise self._refusal(outcome, account, verb="see")
        return outcome.body

    def path_of(self, operation: Operation) -> str | None:
        """The path of an operation's link; None where it leads away from the API.

        The token goes to the API's own origin and nowhere else.
        """
        return self._transport.target(operation.href)

    def _send_until_it_may_have_arrived(
        self, account: str, servers: Sequence[str]
    ) -> Answer | NoAnswer:
        request = Request(
            "POST",
            f"/v2/operations/{account}/servers/reset",
            list(servers),
            self._answer_seconds,
        )
        outcome: Answer | NoAnswer | None = None
        try:
            began = self._clock()
            outcome = self._transport.exchange(request)
            for pause in PAUSES:
                if not may_be_repeated(outcome):
                    break
                if isinstance(outcome, Answer):
                    why = "The API asks to wait (429)."
                    pause = self._retry_after(outcome, pause)  # noqa: PLW2901 - it knows better
                else:
                    why = f"{self._transport.way} was not reached: {outcome.reason}."
                if self._clock() - began + pause > TRYING_SECONDS:
                    break
                self._on_note(f"{why} Trying again in {pause:g} s.")
                self._sleep(pause)
                outcome = None
                outcome = self._transport.exchange(request)
        except KeyboardInterrupt as interrupt:
            # where no outcome is known one may just have come
            certain = outcome is not None and may_be_repeated(outcome)
            return interrupted(interrupt, never_left=certain)
        return outcome

    def _refusal(
        self, answer: Answer, account: str, *, verb: str = "reset"
    ) -> AuthenticationError | RefusedError:
        words = self._words(answer, before=": ") or "."
        match answer.status:
            case codes.UNAUTHORIZED:
                return AuthenticationError(
                    f"The API refused the token (401){words}",
                    hint=_RENEW,
                )
            case codes.FORBIDDEN:
                return AuthenticationError(
                    f"The API lets this user {verb} nothing in account {account} (403){words}",
                    hint="AccountAdmin, ServerAdmin and ServerOperator may. See: clc whoami",
                )
            case codes.NOT_FOUND:
                hint = f"Is {account} the right account alias? Give another one with -a."
            case codes.TOO_MANY_REQUESTS:
                hint = "Wait, then run it again: no server was reset."
            case _:
                hint = "No server was reset."
        return RefusedError(f"The API refused the request ({answer.status}){words}", hint=hint)

    def _retry_after(self, answer: Answer, otherwise: float) -> float:
        """Seconds to wait after a 429: a number, or a date (RFC 9110, 10.2.3)."""
        text = (answer.retry_after or "").strip()
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return otherwise
        if until.tzinfo is None:  # asctime's form has none; all dates of HTTP are in UTC
            until = until.replace(tzinfo=UTC)
        return max(0.0, until.timestamp() - self._wall_clock())

    def _credential(self, body: bytes, username: str) -> Credential:
        answer = answers.decode(body)
        if isinstance(answer, dict):
            roles = answer.get("roles")
            try:
                return Credential.from_token(
                    answers.text(answer.get("bearerToken")),
                    source="login",
                    user=answers.text(answer.get("userName")) or username,
                    account=answers.text(answer.get("accountAlias")) or None,
                    roles=tuple(r for r in roles if answers.text(r))
                    if isinstance(roles, list)
                    else (),
                )
            except ValueError:
                pass
        raise RefusedError(
            "The login was answered (200), but the answer holds no token that can be used.",
            hint="Is CLC_BASE_URL the address of the CLC API? Nothing was sent but the login.",
        )

    def _unreachable(self, outcome: NoAnswer) -> UnreachableError:
        hint = "Check the network, the proxy settings and CLC_BASE_URL. No server was reset."
        if self._transport.origin == DEFAULT_BASE_URL:
            hint += (
                "\nCenturyLink Cloud closed on 30 September 2023; to run a cloud of your own: "
                "clc sandbox"
            )
        return UnreachableError(
            f"{self._transport.way} was not reached: {outcome.reason}.", hint=hint
        )

    def _without_secrets(self, answer: ResetAnswer) -> ResetAnswer:
        def told(result: ServerResult) -> ServerResult:
            if result.message is None:
                return result
            return result._replace(message=self._transport.without_secrets(result.message))

        return answer._replace(results=tuple(map(told, answer.results)))

    def _words(self, answer: Answer, *, before: str) -> str:
        """The words of an error's body with `before` in front, empty where it has none."""
        said = printable(answers.reason(answer.body))
        words = self._transport.without_secrets(said, answer.secret)
        if len(words) > LONGEST_REASON:
            words = f"{words[:LONGEST_REASON]}…"
        return before + words if words else ""


def _may_pass(status: int) -> bool:
    """Whether what was refused may be granted a moment later."""
    return status == codes.TOO_MANY_REQUESTS or status >= codes.INTERNAL_SERVER_ERROR


def _unknown(servers: Sequence[str], problem: str, signum: int | None = None) -> ResetAnswer:
    message = f"Sent; outcome unknown: {problem}."
    return ResetAnswer(
        tuple(ServerResult(server, ServerState.UNKNOWN, None, message) for server in servers),
        problem=problem,
        signum=signum,
    )
