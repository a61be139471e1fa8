"""Who may call: API, admin and metrics keys, compared in constant time, and what is allowed without any."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from finerank.errors import Forbidden, InvalidSetting, Unauthorized
from finerank.messages import Message
from finerank.settings import ServeSettings

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_HEADERS = ("authorization", "x-api-key", "api-key")

Scope = Literal["rank", "metrics", "baseline", "admin"]
"""What a request does: rank and look at models, read metrics and ranking health, set what drift is measured against
(open on a server without keys), load a model (always needs an admin key)."""

_NAMES: Mapping[Scope, str] = {
    "rank": "an API key",
    "metrics": "the metrics key",
    "baseline": "an admin key",
    "admin": "an admin key",
}


class Keys:
    """The keys that callers may send. Without API keys anybody may rank, without these and a metrics key anybody may
    read metrics. True if ranking needs a key.
    """

    def __init__(self, keys: Iterable[str], *, admin: Iterable[str] = (), metrics: Iterable[str] = ()) -> None:
        api, admins, readers = ([_digest(key) for key in group] for group in (keys, admin, metrics))
        self._api = api
        self._known = [*api, *admins, *readers]
        self._allowed: Mapping[Scope, list[bytes]] = {
            "rank": [*api, *admins],
            "metrics": [*readers, *admins, *([] if readers else api)],
            "baseline": admins,
            "admin": admins,
        }
        self._needed: Mapping[Scope, bool] = {
            "rank": bool(api),
            "metrics": bool(api or readers),
            "baseline": bool(self._known),
            "admin": True,
        }
        self._has_admin = bool(admins)

    def __len__(self) -> int:
        return len(self._api)

    def check(self, headers: Mapping[str, str], scope: Scope = "rank") -> None:
        """Raises `Unauthorized` without a known key in `Authorization` (with or without `Bearer`), `X-API-Key`
        or Azure's `api-key`, and `Forbidden` where the key may not do this."""
        if not self._needed[scope]:
            return
        shown = [_digest(_key(headers[name])) for name in _HEADERS if headers.get(name)]
        allowed, known = _matches(shown, self._allowed[scope]), _matches(shown, self._known)
        if allowed:
            return
        for_admins = scope in ("baseline", "admin")
        wanted = "admin" if for_admins else scope
        if for_admins and not self._has_admin and (known or not self._known):
            raise Forbidden(
                Message(
                    "this needs an admin key, and the server has none: start it with admin_keys_file, or with "
                    "FINERANK_SERVE_ADMIN_KEYS; an API key may only rank",
                    "key.no-admin",
                )
            )
        name = _NAMES[scope]
        if known:
            message = "this needs {key}; the key you sent is known, but may not do this"
            raise Forbidden(Message(message, "key.not-allowed", key=name), scope=wanted)
        if shown:
            raise Unauthorized(Message("this key is not known; send {key}", "key.unknown", key=name), scope=wanted)
        needed = "a key" if scope == "rank" else name
        message = "{key} is needed, as `Authorization: Bearer KEY`"
        raise Unauthorized(Message(message, "key.missing", key=needed), scope=wanted)


def load_keys(settings: ServeSettings) -> Keys:
    """The keys of the settings and of their files. Raises `InvalidSetting` when a network could call without any."""
    keys = [*settings.api_keys, *_read("api_keys_file", settings.api_keys_file)]
    admin = [*settings.admin_keys, *_read("admin_keys_file", settings.admin_keys_file)]
    if not keys and settings.auth == "auto" and not is_loopback(settings.host):
        raise InvalidSetting(
            f"host={settings.host!r}: other machines reach this server, and it asks for no key. Set api_keys_file, or "
            "FINERANK_SERVE_API_KEYS; or auth='optional', to let anyone rank"
        )
    metrics = [settings.metrics_key] if settings.metrics_key else []
    return Keys([] if settings.auth == "off" else keys, admin=admin, metrics=metrics)


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return name in LOOPBACK or ip_address(name).is_loopback
    except ValueError:
        return False


def _read(option: str, path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{option}={path!r}: cannot be read: {error}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InvalidSetting(f"{option}={path!r}: holds no key; put one on each line")
    return keys


def _matches(shown: Iterable[bytes], known: Iterable[bytes]) -> bool:
    return sum(hmac.compare_digest(digest, one) for digest in shown for one in known) > 0  # all of them: no early end


def _key(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    return (rest if scheme.lower() == "bearer" else header).strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
