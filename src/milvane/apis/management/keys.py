"""API keys."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from fastapi import APIRouter

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.wire import KeyAnswer, KeyBody, KeyList, NewKeyAnswer, RotateBody
from milvane.control_plane import keys
from milvane.domain.control import ApiKey


def keys_router(management: Management) -> APIRouter:
    """Build the routes of keys."""
    router = APIRouter(prefix="/keys")
    plane = management.plane

    def show(made: tuple[ApiKey, str]) -> NewKeyAnswer:
        key, secret = made
        return NewKeyAnswer(key=KeyAnswer.of(key, management.clock()), secret=secret)

    @router.get("")
    async def list_keys() -> KeyList:
        """List all keys, oldest first; a secret is not among what is known of them."""
        found = await plane.read(keys.read_keys)
        now = management.clock()
        return KeyList(keys=[KeyAnswer.of(key, now) for key in found.values()])

    @router.post("", status_code=201)
    async def create_key(body: KeyBody, manager: ByManager) -> NewKeyAnswer:
        """Make a key; its secret is in this answer and nowhere else."""
        expires_at = None
        if body.expires_in_s is not None:
            expires_at = management.clock() + timedelta(seconds=body.expires_in_s)
        return show(
            await plane.change(
                manager.name,
                partial(
                    keys.create_key,
                    label=body.label,
                    tenant=body.tenant,
                    scopes=frozenset(body.scopes),
                    expires_at=expires_at,
                ),
            )
        )

    @router.post("/{key_id}/rotate", status_code=201)
    async def rotate_key(key_id: str, body: RotateBody, manager: ByManager) -> NewKeyAnswer:
        """Make a key in the place of another, which stays good for a while."""
        return show(
            await plane.change(
                manager.name, partial(keys.rotate_key, key_id=key_id, overlap_s=body.overlap_s)
            )
        )

    @router.delete("/{key_id}", status_code=204)
    async def revoke_key(key_id: str, manager: ByManager) -> None:
        """Have a key open nothing from now on."""
        await plane.change(manager.name, partial(keys.revoke_key, key_id=key_id))

    return router
