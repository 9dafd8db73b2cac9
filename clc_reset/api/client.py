"""The calls of the CLC v2 API, and the one decision that matters: what may be sent twice.

A reset is a forced power cycle. It can't be taken back and isn't idempotent, so `Client.reset`
sends one POST, and sends it again only where `may_be_repeated` says that the first one can't have
arrived.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from clc_reset.api import answers
from clc_reset.api.transport import LONGEST_EXPLANATION, Answer, NoAnswer, Transport, codes
from clc_reset.clocks import ApiTime, Clocks, Moment
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
    Observation,
    Operation,
    OperationStatus,
    PollFailure,
    ResetAnswer,
    ServerGroup,
)
from clc_reset.text import (
    describe,
    enumerate_names,
    first_line,
    printable,
    sentence,
    shorten,
    show_seconds,
)
from clc_reset.workers import Failure, Inbox

PAUSES = (0.5, 1.0)
"""Seconds before the second and the third try of a reset, the last one."""
READ_PAUSES = (1.0, 2.0)
"""The same for a GET: a 500 was a 200 two seconds later (recorded)."""
TRYING_SECONDS = 30.0
"""No try begins later than this after the first one began."""
ANSWER_SECONDS = 180.0
"""Time for the answer to a reset: calls of about a minute are reported."""
REQUEST_SECONDS = 60.0
"""Time for the answer to a login, a poll, and all requests for groups together."""
LOOK_SECONDS = 10.0
LARGEST_STATUS = 2**16
"""In bytes: an answer to Get Status has one field."""

_log = logging.getLogger(__name__)

_NOT_REPEATED = "A login is not repeated automatically: three wrong passwords lock the user."
_CLOSED = "CenturyLink Cloud closed on 30 September 2023; to run a cloud of your own: clc sandbox"
_NOT_SEEN = {
    401: "the API refused the token (401)",
    403: "this user may not see it (403)",
    404: "the API knows no such server (404)",
}


def may_be_repeated(outcome: Answer | NoAnswer) -> bool:
    """Return whether a reset may be sent again: only if the first can't have reached the API.

    | what happened                     | again | because                                     |
    |-----------------------------------|-------|---------------------------------------------|
    | name not resolved, connection     | yes   | the request is written after all of these   |
    | refused, TLS, proxy tunnel failed |       |                                             |
    | certificate not trusted           | no    | it won't be a moment later                  |
    | 60 s had passed since its record  | no    | the record may be taken for an old one      |
    | 429                               | yes   | the API says that it did not take it        |
    | 429 that mentions servers queued  | no    | it was taken, or nobody knows               |
    | connection dropped, read timeout  | no    | the API may be at work on it                |
    | 500, 502, 503, 504                | no    | a gateway may have lost only the answer     |
    | 2xx that can't be read, 3xx       | no    | it was taken, or nobody knows               |
    | any other 4xx                     | no    | it was refused, and would be again          |
    | interrupted                       | no    | the user said stop                          |
    """
    if isinstance(outcome, NoAnswer):
        return outcome.never_left and outcome.signum is None and outcome.error is None
    if outcome.status != codes.TOO_MANY_REQUESTS:
        return False
    return not answers.mentions_queueing(outcome.content, outcome.body)


def _may_be_read_again(outcome: Answer | NoAnswer) -> bool:
    """Return whether the answer to a GET may be another one a little later."""
    if isinstance(outcome, NoAnswer):
        return outcome.error is None
    is_server_error = outcome.status >= codes.INTERNAL_SERVER_ERROR
    return is_server_error or outcome.status == codes.TOO_MANY_REQUESTS


class Client:
    """The API at one origin, without a token until `authorize`.

    `origin` is the result of `identifiers.api_origin`. Raises what `Transport` raises.
    """

    def __init__(self, origin: str, inbox: Inbox, clocks: Clocks) -> None:
        self._transport = Transport(origin, inbox, clocks)
        self._inbox = inbox
        self._clocks = clocks
        self._renewal = ""

    def authorize(self, token: str, renewal: str) -> None:
        """Act with a token from now on; `renewal` says how it is renewed, the hint of a 401."""
        self._transport.authorize(token)
        self._renewal = renewal

    @property
    def api_time(self) -> ApiTime | None:
        """The API's clock by its latest answer; None before it, or if it never told."""
        return self._transport.api_time

    # --- log in --------------------------------------------------------------------------------

    def log_in(self, username: str, password: str) -> Credential:
        """Exchange a password for a token that lives 14 days. Sent once, whatever happens.

        Three or four wrong passwords in a row lock the user (documented).

        Raises AuthenticationError (refused), UnreachableError or RefusedError (no usable answer),
        and Interrupted.
        """
        self._inbox.check()
        self._transport.hide(password, public=username)
        content = {"username": username, "password": password}
        outcome = self._transport.post("/v2/authentication/login", content, REQUEST_SECONDS)
        if isinstance(outcome, NoAnswer):
            self._inbox.check()
            if outcome.never_left:
                raise self._unreachable(outcome)
            raise RefusedError(f"The login failed: {outcome.reason}.", hint=_NOT_REPEATED)
        if outcome.status in {codes.BAD_REQUEST, codes.UNAUTHORIZED, codes.FORBIDDEN}:
            raise AuthenticationError(
                self._message(f"The login as {username} was refused", outcome),
                hint=f"Check the user name and the password.\n{_NOT_REPEATED}",
            )
        if outcome.status != codes.OK:
            message = self._message("The login got no usable answer", outcome)
            raise RefusedError(message, hint="Try again later.")
        credential = answers.credential(outcome.content, username)
        if credential is None:
            raise RefusedError(
                "The login was answered (200), but without a usable token.",
                hint="Is CLC_BASE_URL the address of the CLC API?",
            )
        self._transport.hide(credential.token)
        # other fields of the answer may repeat it
        redacted = self._transport.redactor.decode(outcome.body)
        return answers.credential(redacted, username) or credential

    # --- reset ---------------------------------------------------------------------------------

    def reset(
        self,
        account: str,
        servers: Sequence[str],
        recorded: Moment | None,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        """Reset servers, given in upper case and each once, in one POST that is sent once.

        It doesn't leave, nor is it repeated, more than 60 s after `recorded`: another command may
        take the record for that of an old request by then. `tick` is called each second with the
        seconds since it left. Raises nothing: what happened, and what is certain, is in the answer.
        """
        path = f"/v2/operations/{account}/servers/reset"
        outcome: Answer | NoAnswer = NoAnswer("", never_left=True)
        try:
            began, pauses = self._clocks.monotonic(), iter(PAUSES)
            while True:
                self._inbox.check()
                outcome = NoAnswer("", never_left=False)  # until it is known
                outcome = self._transport.post(path, list(servers), ANSWER_SECONDS, recorded, tick)
                pause = self._pause(outcome, pauses, began) if may_be_repeated(outcome) else None
                if pause is None:
                    break
                reason = "The API asked to wait (429)."
                if isinstance(outcome, NoAnswer):
                    reason = self._unreachable(outcome).message
                _log.info("%s Trying again in %g s.", reason, pause)
                self._inbox.sleep(pause)
            return self._reset_answer(outcome, account, servers)
        except Interrupted as error:  # raised only before a try, so nothing was sent
            return ResetAnswer.not_sent(servers, signum=error.signum)
        except Exception as error:  # whatever it was, it may have been sent
            reason = self._transport.redactor.redact(describe(error))
            if may_be_repeated(outcome):
                outcome = NoAnswer(reason, never_left=True)
                return ResetAnswer.not_sent(servers, self._unreachable(outcome))
            return ResetAnswer.maybe_sent(servers, reason)._replace(left=outcome.left)

    def _pause(
        self, outcome: Answer | NoAnswer, pauses: Iterator[float], began: float
    ) -> float | None:
        """Return the seconds until the next try, as the API asks if it does; None for no try."""
        pause = next(pauses, math.inf)
        if isinstance(outcome, Answer) and outcome.retry_after is not None and pause < math.inf:
            pause = outcome.retry_after
        return pause if self._has_time(began, pause) else None

    def _has_time(self, began: float, pause: float) -> bool:
        """Return whether there is time for another try after a pause."""
        return self._clocks.monotonic() - began + pause <= TRYING_SECONDS

    def _reset_answer(
        self, outcome: Answer | NoAnswer, account: str, servers: Sequence[str]
    ) -> ResetAnswer:
        time = self.api_time
        if isinstance(outcome, NoAnswer):
            if outcome.never_left:
                error = None if outcome.signum else self._unreachable(outcome)
                return ResetAnswer.not_sent(servers, error, outcome.signum)
            answer = ResetAnswer.maybe_sent(servers, outcome.reason, outcome.signum)
        else:
            time = outcome.time or time
            entities = answers.entities(outcome.content)
            was_taken = codes.is_success(outcome.status)
            was_refused = codes.is_client_error(outcome.status)
            if entities or (was_taken and entities is not None):
                answer = answers.reconcile(servers, entities, self._transport.target)
                if answer.unasked:
                    warning = "the API also answered for servers that were not asked for: %s."
                    _log.warning(warning, enumerate_names(answer.unasked))
            elif was_refused and not answers.mentions_queueing(outcome.content, outcome.body):
                error = self._refusal(outcome, f"reset servers in account {account}", account)
                return ResetAnswer.not_sent(servers, error)
            else:
                answer = ResetAnswer.maybe_sent(servers, self._problem(outcome))
        left = outcome.left
        return answer._replace(left=left, sent_at=time.of(left) if time and left else None)

    # --- get status ----------------------------------------------------------------------------

    def operation(self, account: str, operation_id: str) -> Operation:
        """Return an operation by its id, where nothing is known of its status link."""
        path = f"/v2/operations/{account}/status/{operation_id}"
        return Operation(operation_id, path, account.upper())

    def operation_status(self, operation: Operation) -> OperationStatus | PollFailure:
        """Ask for an operation's status, once, by the link that came with it, in this thread.

        Several threads may do so at a time. Raises AuthenticationError if the token is not accepted
        (401, 403).
        """
        if operation.path is None:
            return PollFailure("its status link leads elsewhere and isn't followed")
        outcome = self._transport.get(operation.path, REQUEST_SECONDS, LARGEST_STATUS)
        if isinstance(outcome, NoAnswer):
            return PollFailure(outcome.reason, unreachable=outcome.never_left)
        status = outcome.status
        if status in {codes.UNAUTHORIZED, codes.FORBIDDEN}:
            raise self._refusal(outcome, f"see operation {operation.id}", operation.account)
        found = answers.operation_status(outcome.content) if status == codes.OK else None
        return found or PollFailure(
            self._problem(outcome),
            slow_down=status in {codes.TOO_MANY_REQUESTS, codes.SERVICE_UNAVAILABLE},
            not_found=status == codes.NOT_FOUND,
            retry_after=outcome.retry_after or None,
        )

    # --- servers and groups --------------------------------------------------------------------

    def server(self, account: str, server: str) -> Observation:
        """Look at a server, given in upper case, once, in this thread, within ten seconds or so.

        Several threads may do so at a time. Raises nothing: if there is nothing to see, `problem`
        says why.
        """
        outcome = self._transport.get(f"/v2/servers/{account}/{server}", LOOK_SECONDS)
        error: ClcError | None = None
        if isinstance(outcome, NoAnswer):
            if outcome.never_left:
                error = self._unreachable(outcome)
            return Observation(server, problem=outcome.reason, error=error)
        if outcome.status == codes.OK:
            found = answers.observation(outcome.content, server, outcome.date)
            if found is not None:
                return found
        if outcome.status == codes.UNAUTHORIZED:
            error = self._refusal(outcome, f"see server {server}", account)
        problem = _NOT_SEEN.get(outcome.status) or self._problem(outcome)
        return Observation(server, outcome.date, problem=problem, error=error)

    def group_name(self, account: str, group_id: str) -> str | None:
        """Ask for a group's name, once, in this thread, within ten seconds or so.

        Several threads may do so at a time. Raises nothing; None if the name can't be had.
        """
        if not answers.is_group_id(group_id):
            return None
        outcome = self._transport.get(f"/v2/groups/{account}/{group_id}", LOOK_SECONDS)
        if isinstance(outcome, NoAnswer) or outcome.status != codes.OK:
            return None
        return answers.group_name(outcome.content)

    def groups(self, account: str, *, detailed: bool = False) -> list[ServerGroup]:
        """Return an account's groups: by data centre, then in the API's order, servers by their id.

        In detail each group has observations of its servers. Each data centre has a root group of
        its own, nested to the bottom; all are asked for at the same time.

        Raises AuthenticationError, UnreachableError, RefusedError, also for an answer that can't be
        read in full, and Interrupted.
        """
        (answer,) = self._read(account, [f"/v2/datacenters/{account}?groupLinks=true"])
        roots = sorted(answers.root_groups(answer.content))
        query = "?serverDetail=detailed" if detailed else ""
        paths = [f"/v2/groups/{account}/{root}{query}" for _, root in roots]
        return [
            group
            for (datacenter, _), answer in zip(roots, self._read(account, paths), strict=True)
            for group in answers.nested_groups(
                answer.content, datacenter, answer.date, detailed=detailed
            )
        ]

    def _read(self, account: str, paths: Sequence[str]) -> list[Answer]:
        """Return the answers to GETs, in their order, each tried three times at the most."""
        found: dict[str, Answer] = {}
        began, pauses = self._clocks.monotonic(), iter(READ_PAUSES)
        while failed := self._try([path for path in paths if path not in found], found):
            asked = [o.retry_after or 0.0 for o in failed if isinstance(o, Answer)]
            pause = max([next(pauses, math.inf), *asked])
            worst = min(failed, key=_may_be_read_again)
            if not (_may_be_read_again(worst) and self._has_time(began, pause)):
                if isinstance(worst, NoAnswer):
                    raise self._unreachable(worst)
                raise self._refusal(worst, f"see the groups of account {account}", account)
            self._inbox.sleep(pause)
        return [found[path] for path in paths]

    def _try(self, paths: Sequence[str], found: dict[str, Answer]) -> list[Answer | NoAnswer]:
        """Send GETs at the same time, add the answers to those found, and return what failed."""
        get = partial(self._transport.get, seconds=REQUEST_SECONDS)
        results = self._inbox.map(get, paths, REQUEST_SECONDS)
        late = NoAnswer(f"no answer within {REQUEST_SECONDS:g} s", never_left=False)
        failed: list[Answer | NoAnswer] = []
        for path in paths:
            outcome = results.get(path, late)
            if isinstance(outcome, Failure):  # no thread was to be had
                outcome = NoAnswer(first_line(outcome.error), never_left=True)
            if isinstance(outcome, Answer) and outcome.status == codes.OK:
                found[path] = outcome
            else:
                failed.append(outcome)
        return failed

    # --- errors --------------------------------------------------------------------------------

    def _unreachable(self, outcome: NoAnswer) -> ClcError:
        """Return the error for a request without an answer."""
        way = self._transport.way
        if outcome.error is not None:
            return outcome.error
        if not outcome.never_left:
            message = f"The request to {way} failed: {outcome.reason}."
            return RefusedError(message, hint="Try again later.")
        is_default = self._transport.origin == DEFAULT_BASE_URL
        hint = f"{CHECK_THE_NETWORK}\n{_CLOSED}" if is_default else CHECK_THE_NETWORK
        return UnreachableError(f"Can't reach {way}: {outcome.reason}.", hint=hint)

    def _refusal(self, answer: Answer, denied: str, account: str | None) -> ClcError:
        """Return the error for a request that was refused.

        `denied` is what a 403 denies; `account` may be the wrong one where nothing is found.
        """
        hint = ""
        match answer.status:
            case codes.UNAUTHORIZED:
                message = self._message("The API refused the token", answer)
                return AuthenticationError(message, hint=self._renewal)
            case codes.FORBIDDEN:
                message = self._message(f"This user may not {denied}", answer)
                hint = "AccountAdmin, ServerAdmin and ServerOperator may. See: clc whoami"
                return AuthenticationError(message, hint=hint)
            case codes.NOT_FOUND:
                hint = f"Is {account} the right account alias? Name another with -a."
            case codes.TOO_MANY_REQUESTS:
                hint = "Wait, then run it again."
            case status if status >= codes.INTERNAL_SERVER_ERROR:
                hint = "Try again later."
        return RefusedError(self._message("The API refused the request", answer), hint=hint)

    def _message(self, problem: str, answer: Answer) -> str:
        """Return a problem with the status, the API's explanation and the pause it asks for."""
        message = sentence(f"{problem} ({answer.status}){self._explanation(answer)}")
        if answer.status == codes.TOO_MANY_REQUESTS and answer.retry_after:
            pause = show_seconds(answer.retry_after)
            message += f" The API asks to wait {pause} (Retry-After)."
        return message

    def _problem(self, answer: Answer) -> str:
        """Return why an answer is of no use, in a clause."""
        problem = f"the API answered {answer.status}"
        has_result = answers.mentions_queueing(answer.content, answer.body)
        if has_result or codes.is_success(answer.status):
            problem = f"the answer ({answer.status}) can't be read"
        return problem + self._explanation(answer)

    def _explanation(self, answer: Answer) -> str:
        """Return the text of an error's body after a colon; nothing if it has none."""
        # once more: its parts were redacted, but not the text that they make up together
        reason = self._transport.redactor.redact(answers.reason(answer.content))
        return f": {shorten(printable(reason), LONGEST_EXPLANATION)}" if reason else ""
