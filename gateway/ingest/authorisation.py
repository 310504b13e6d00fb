"""The authorisations of shops in one worker: the newest token, its renewal, and holding a shop whose token is refused.

All workers follow the database, woken by NOTIFY and by a look every few seconds. A refusal is the word on *one* token:
it is told with the version that was used, and counts for nothing once that has been replaced. A refused renewal is
no word on the present token: that is used until it ends, or is refused itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import asyncpg
import msgspec

from gateway.core.access import Token
from gateway.core.code import OTHER
from gateway.core.delivery import Failed, Throttled, Unauthorised
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.happening import ConnectionChanged, ConnectionState, Observer, Trouble
from gateway.ingest.backoff import backoff_s
from gateway.ingest.duty import Ownership
from gateway.sdk.cancelled import is_a_stop, is_ours
from gateway.sdk.pull import Authoriser, Budget
from gateway.store.credentials import Credential, Swapped, plant, read_credentials, refuse, refuse_renewal, swap
from gateway.store.sql import AWAY

RENEW_AHEAD = (timedelta(minutes=10), timedelta(days=7))
"""A token is renewed when a quarter of its life is left, but not later and not earlier than this before its end."""

RENEW_AGAIN = (timedelta(minutes=10), timedelta(hours=6))
"""A refused renewal is tried again after as long as it has been refused, but within these: twice as long each time."""

_GRACE_S = 60.0
"""A token that has simply run out, or is due, is being renewed: only when that takes longer is a person called."""

_WARN_AHEAD = timedelta(days=3)
_FOLLOW_EVERY_S = 3.0
_RENEW_LOOK_S = 5.0
_MIN_PAUSE_S = 1.0


class _Refusal(msgspec.Struct, frozen=True):
    version: int
    code: str
    message: str
    at: datetime


class Authorisation:
    """The token of one shop as this worker knows it. Implements the gate's `Authority`.

    `changed` is called when everything of the shop has to wait, and when it may go on.
    """

    def __init__(
        self,
        connection: ConnectionName,
        *,
        seed: Token,
        renewable: bool,
        now: Callable[[], datetime],
        changed: Callable[[bool], None],
        wake: Callable[[], None],
    ) -> None:
        self.connection = connection
        self.seed = seed
        self._renewable = renewable
        self._now = now
        self._changed = changed
        self._wake = wake
        self._token = seed
        self._version = 0
        self.changed_at = now()
        self.renewal_refused = False
        """The platform gives no new token for the present one; a person has been told."""
        self.refusal: _Refusal | None = None
        """What a platform has said and the database does not know yet."""
        self.held = False

    @property
    def version(self) -> int:
        return self._version

    def token(self) -> Token:
        return self._token

    @property
    def renewable(self) -> bool:
        """Whether the platform gives a new token for this one."""
        return self._renewable and bool(self._token.refresh)

    @property
    def being_renewed(self) -> bool:
        """Whether the refused token has run out, or soon does, and its owner is about to replace it.

        A platform may end a token as soon as it gives the next one: what was under way then is refused.
        """
        refusal, ends_at = self.refusal, self._token.expires_at
        if refusal is None or not self.renewable or ends_at is None or self.renewal_refused:
            return False
        due_at = ends_at - renew_ahead(ends_at - self.changed_at)
        return due_at <= self._now() < refusal.at + timedelta(seconds=_GRACE_S)

    def refused(self, version: int, answer: Unauthorised) -> None:
        """The platform refused the token of `version`: everything waits until the database has the last word."""
        if version != self._version or self.refusal is not None or self.held:
            return
        self.refusal = _Refusal(version, answer.code, answer.message[:200], self._now())
        self._hold(True)
        self._wake()

    def learn(self, credential: Credential) -> None:
        """Follow what is stored."""
        if credential.version < self._version:
            return  # read before a swap of our own
        self._version, self._token = credential.version, credential.token
        self.changed_at = credential.changed_at
        self.renewal_refused = credential.renewal_refused is not None
        if self.refusal is not None and (credential.refused is not None or self.refusal.version != self._version):
            self.refusal = None
        self._hold(credential.refused is not None or self.refusal is not None)

    def _hold(self, held: bool) -> None:
        if held != self.held:
            self.held = held
            self._changed(held)


class Authorisations:
    """All shops' authorisations in this worker, by connection id."""

    def __init__(self, pool: asyncpg.Pool, shops: Mapping[int, Authorisation], *, observe: Observer) -> None:
        self._pool = pool
        self._shops = shops
        self._observe = observe
        self._woken = asyncio.Event()
        self._away = False

    def wake(self, _payload: str = "") -> None:
        """Something has changed: look now."""
        self._woken.set()

    async def start(self) -> None:
        """Store what the configuration says and know what is stored, before anything is asked of a platform."""
        for connection_id, shop in self._shops.items():
            changed = await plant(self._pool, connection_id, shop.seed)
            if changed is not None:
                self._tell(shop, changed)
        await self.follow()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.follow()
                self._away = False
            except AWAY as error:
                if not self._away:
                    self._observe([Trouble("token", f"authorisations not read: {type(error).__name__}")])
                self._away = True
            try:
                async with asyncio.timeout(_FOLLOW_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def follow(self) -> None:
        """Tell the database what platforms have refused, and do as it says."""
        for connection_id, shop in self._shops.items():
            if shop.refusal is not None and not shop.being_renewed:
                await self.refuse(connection_id, shop, shop.refusal.version, shop.refusal.code, shop.refusal.message)
        if not self._shops:
            return
        for connection_id, credential in (await read_credentials(self._pool, self._shops)).items():
            self._shops[connection_id].learn(credential)

    async def refuse(self, connection_id: int, shop: Authorisation, version: int, code: str, message: str) -> None:
        code = code or OTHER
        words = message if message.partition(" ")[0] == code else f"{code}: {message}".rstrip(": ")
        if await refuse(self._pool, connection_id, version=version, code=code, words=words):
            self._tell(shop, code)

    def replaced(self, shop: Authorisation, swapped: Swapped) -> None:
        """The owner has put a new token: use it here at once."""
        shop.learn(swapped.credential)
        if swapped.was_refused:
            self._tell(shop, "")

    def _tell(self, shop: Authorisation, code: str) -> None:
        state = ConnectionState.RE_AUTHORISE if code else ConnectionState.READY
        self._observe([ConnectionChanged(shop.connection, state, code or "authorised")])


class Renewal:
    """The owner's loop that replaces a shop's token before it ends, once per token.

    Where the platform refuses that while the token is good, it is tried again, and for the last time at the end.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        shop: Authorisation,
        all_shops: Authorisations,
        authoriser: Authoriser | None,
        budget: Budget,
        deadline_s: float,
        now: Callable[[], datetime],
        rng: random.Random,
        observe: Observer,
        reach: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._shop = shop
        self._all = all_shops
        self._authoriser = authoriser
        self._budget = budget
        self._deadline_s = deadline_s
        self._now = now
        self._rng = rng
        self._observe = observe
        self._reach = reach
        self._spent = 0
        """The version that is not renewed any more: it was refused, or renewing did not make it live longer."""
        self._later: tuple[int, datetime] | None = None
        """The version that is not renewed before an instant, as long as it is good: its renewal was refused, or it was
        given just now and half of its life is before it."""
        self._warned = 0
        self._failures = 0

    async def run(self, owner: Ownership) -> None:
        while not owner.stopping:
            self._warn()
            if self._due() and self._authoriser is not None:
                await self._renew(owner, self._authoriser)
            else:
                await owner.rest(_RENEW_LOOK_S)

    def _due(self) -> bool:
        shop = self._shop
        if not shop.renewable or shop.version == self._spent:
            return False
        if shop.held or not self._is_good():
            return True  # perhaps it is only the short-lived half that has ended
        ends_at, now = shop.token().expires_at, self._now()
        if ends_at is None or now < ends_at - renew_ahead(ends_at - shop.changed_at):
            return False
        return self._later is None or self._later[0] != shop.version or now >= self._later[1]

    def _is_good(self) -> bool:
        """Whether the present token may be used: it has not ended as far as is known, and nobody has refused it."""
        ends_at = self._shop.token().expires_at
        return not self._shop.held and (ends_at is None or self._now() < ends_at)

    def _warn(self) -> None:
        """Once per token: it ends soon, and only a person can prevent that."""
        shop = self._shop
        ends_at = shop.token().expires_at
        if ends_at is None or shop.version == self._warned or shop.held:
            return
        if shop.renewal_refused:
            return  # of that people are told by a notice
        if (not shop.renewable or shop.version == self._spent) and ends_at - self._now() < _WARN_AHEAD:
            self._warned = shop.version
            what = f"{shop.connection}: its authorisation ends at {ends_at.isoformat()} and cannot be renewed"
            self._observe([Trouble("token", f"{what}: authorise the shop again before")])

    async def _renew(self, owner: Ownership, authoriser: Authoriser) -> None:
        shop = self._shop
        await self._budget.turn()
        version, token = shop.version, shop.token()
        if not self._due() or owner.stopping:
            return
        answer: object
        try:
            answer = await authoriser.refresh(token, deadline_s=self._deadline_s)
        except asyncio.CancelledError as error:
            if is_ours():
                raise
            answer = Failed("adapter", raised(error))
        except BaseException as error:  # a broken adapter is contained here
            if is_a_stop(error):
                raise
            answer = Failed("adapter", raised(error))
        match answer:
            case Token() if answer.access:
                self._failures = 0
                self._reach("renewal.before_swap")
                await self._put(owner, answer, version=version, before=token)
                # Also one that has ended already: the shop's rate is for its orders, too.
                await owner.rest(_RENEW_LOOK_S)
            case Unauthorised(code, message):
                if version == shop.version and self._is_good():
                    await self._put_off(owner, version, code or OTHER)
                else:
                    await self._all.refuse(owner.connection_id, shop, version, code, message)
                    self._spent = version
                await self._all.follow()
            case Throttled(retry_after_s):
                self._budget.pause(max(_MIN_PAUSE_S, retry_after_s or 0.0))
            case Failed(code, _, retry_after_s):
                self._failures += 1
                if self._failures == 1:
                    self._observe([Trouble("token", f"{shop.connection}: not renewed: {code}")])
                await owner.rest(max(backoff_s(self._failures, self._rng), retry_after_s or 0.0))
            case _:  # an adapter may answer anything
                self._spent = version
                said = "an empty token" if isinstance(answer, Token) else type(answer).__name__
                self._observe([Trouble("token", f"{shop.connection}: not renewed: the adapter answered with {said}")])

    async def _put_off(self, owner: Ownership, version: int, code: str) -> None:
        """The platform gives no new token, but the present one is good: use it, have people told, try again later."""
        refused_at = await refuse_renewal(self._pool, owner.connection_id, version=version, code=code)
        if refused_at is None:
            return  # somebody has authorised the shop meanwhile
        least, most = RENEW_AGAIN
        now = self._now()
        if not self._shop.renewal_refused:
            ends_at = self._shop.token().expires_at
            until = "" if ends_at is None else f", its authorisation lasts until {ends_at.isoformat()}"
            self._observe([Trouble("token", f"{self._shop.connection}: renewal refused: {code}{until}")])
        self._later = (version, now + min(max(now - refused_at, least), most))

    async def _put(self, owner: Ownership, token: Token, *, version: int, before: Token) -> None:
        """Store the new token. The old one may be worth nothing already, so this does not give up."""
        while True:
            try:
                swapped = await swap(self._pool, owner.connection_id, token, version=version, worker_id=owner.worker_id)
                break
            except AWAY as error:
                self._observe([Trouble("token", f"{owner.connection}: not stored yet: {type(error).__name__}")])
                await asyncio.sleep(_MIN_PAUSE_S)
        if swapped is None:
            await self._all.follow()  # somebody has authorised the shop meanwhile: theirs is newer
            return
        self._all.replaced(self._shop, swapped)
        if token.expires_at is not None:
            now = self._now()
            self._later = (swapped.credential.version, now + (token.expires_at - now) / 2)
        if token.expires_at is not None and before.expires_at is not None and token.expires_at <= before.expires_at:
            self._spent = swapped.credential.version


def renew_ahead(life: timedelta) -> timedelta:
    """How long before its end a token that lives for `life` is renewed: 6 hours for a day, 7 days for a year."""
    least, most = RENEW_AHEAD
    return min(max(life / 4, least), most)
