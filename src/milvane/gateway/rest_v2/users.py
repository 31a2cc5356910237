"""Paths of users, roles and privileges, as far as the upstream has them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from milvane.gateway.rest_v2 import wire
from milvane.gateway.rest_v2.path import Answer, Path, one_call
from milvane.gateway.rest_v2.session import Session, cost_of
from milvane.messages import milvus_pb2

_ADD, _REMOVE = (
    milvus_pb2.OperateUserRoleType.AddUserToRole,
    milvus_pb2.OperateUserRoleType.RemoveUserFromRole,
)
_GRANT, _REVOKE = milvus_pb2.OperatePrivilegeType.Grant, milvus_pb2.OperatePrivilegeType.Revoke


async def _describe_user(session: Session, body: wire.UserBody) -> Answer:
    request = milvus_pb2.SelectUserRequest(
        user=milvus_pb2.UserEntity(name=body.user_name), include_role_info=True
    )
    reply = await session.call("SelectUser", request)
    roles = [
        role.name
        for result in reply.results
        if result.user.name == body.user_name
        for role in result.roles
    ]
    return {"data": roles, "cost": cost_of(reply)}


def _change_roles(change: int) -> Path:
    return one_call(
        "OperateUserRole",
        wire.UserRole,
        lambda body, _: milvus_pb2.OperateUserRoleRequest(
            username=body.user_name, role_name=body.role_name, type=change
        ),
    )


def _write_grant(grant: milvus_pb2.GrantEntity) -> dict[str, Any]:
    return {
        "objectType": grant.object.name,
        "objectName": grant.object_name,
        "privilege": grant.grantor.privilege.name,
        "dbName": grant.db_name,
        "grantor": grant.grantor.user.name,
    }


def _change_grant(change: int) -> Path:
    return one_call(
        "OperatePrivilege",
        wire.Grant,
        lambda body, database: milvus_pb2.OperatePrivilegeRequest(
            entity=milvus_pb2.GrantEntity(
                role=milvus_pb2.RoleEntity(name=body.role_name),
                object=milvus_pb2.ObjectEntity(name=body.object_type),
                object_name=body.object_name,
                db_name=database,
                grantor=milvus_pb2.GrantorEntity(
                    privilege=milvus_pb2.PrivilegeEntity(name=body.privilege)
                ),
            ),
            type=change,
        ),
    )


def _change_grant_by_name(change: int) -> Path:
    return one_call(
        "OperatePrivilegeV2",
        wire.GrantByName,
        lambda body, database: milvus_pb2.OperatePrivilegeV2Request(
            role=milvus_pb2.RoleEntity(name=body.role_name),
            grantor=milvus_pb2.GrantorEntity(
                privilege=milvus_pb2.PrivilegeEntity(name=body.privilege)
            ),
            type=change,
            db_name=database,
            collection_name=body.collection_name,
        ),
    )


def _change_group(change: int) -> Path:
    return one_call(
        "OperatePrivilegeGroup",
        wire.PrivilegeGroup,
        lambda body, _: milvus_pb2.OperatePrivilegeGroupRequest(
            group_name=body.privilege_group_name,
            privileges=[milvus_pb2.PrivilegeEntity(name=name) for name in body.privileges],
            type=change,
        ),
    )


def _write_groups(reply: milvus_pb2.ListPrivilegeGroupsResponse) -> dict[str, Any]:
    groups = [
        {
            "privilegeGroupName": group.group_name,
            "privileges": sorted(privilege.name for privilege in group.privileges),
        }
        for group in reply.privilege_groups
    ]
    return {"privilegeGroups": groups}


USERS = MappingProxyType(
    {
        "users/list": one_call(
            "ListCredUsers",
            wire.AnyBody,
            lambda _body, _database: milvus_pb2.ListCredUsersRequest(),
            lambda reply: list(reply.usernames),
        ),
        "users/describe": Path(wire.UserBody, ("SelectUser",), _describe_user),
        "users/create": one_call(
            "CreateCredential",
            wire.UserCreation,
            lambda body, _: milvus_pb2.CreateCredentialRequest(
                username=body.user_name, password=body.password
            ),
        ),
        "users/update_password": one_call(
            "UpdateCredential",
            wire.PasswordChange,
            lambda body, _: milvus_pb2.UpdateCredentialRequest(
                username=body.user_name,
                oldPassword=body.password,
                newPassword=body.new_password,
            ),
        ),
        "users/drop": one_call(
            "DeleteCredential",
            wire.UserBody,
            lambda body, _: milvus_pb2.DeleteCredentialRequest(username=body.user_name),
        ),
        "users/grant_role": _change_roles(_ADD),
        "users/revoke_role": _change_roles(_REMOVE),
    }
)

ROLES = MappingProxyType(
    {
        "roles/list": one_call(
            "SelectRole",
            wire.AnyBody,
            lambda _body, _database: milvus_pb2.SelectRoleRequest(),
            lambda reply: [result.role.name for result in reply.results],
        ),
        "roles/describe": one_call(
            "SelectGrant",
            wire.RoleBody,
            lambda body, database: milvus_pb2.SelectGrantRequest(
                entity=milvus_pb2.GrantEntity(
                    role=milvus_pb2.RoleEntity(name=body.role_name), db_name=database
                )
            ),
            lambda reply: [_write_grant(grant) for grant in reply.entities],
        ),
        "roles/create": one_call(
            "CreateRole",
            wire.RoleBody,
            lambda body, _: milvus_pb2.CreateRoleRequest(
                entity=milvus_pb2.RoleEntity(name=body.role_name)
            ),
        ),
        "roles/drop": one_call(
            "DropRole",
            wire.RoleBody,
            lambda body, _: milvus_pb2.DropRoleRequest(role_name=body.role_name),
        ),
        "roles/grant_privilege": _change_grant(_GRANT),
        "roles/revoke_privilege": _change_grant(_REVOKE),
        "roles/grant_privilege_v2": _change_grant_by_name(_GRANT),
        "roles/revoke_privilege_v2": _change_grant_by_name(_REVOKE),
    }
)

PRIVILEGE_GROUPS = MappingProxyType(
    {
        "privilege_groups/list": one_call(
            "ListPrivilegeGroups",
            wire.AnyBody,
            lambda _body, _database: milvus_pb2.ListPrivilegeGroupsRequest(),
            _write_groups,
        ),
        "privilege_groups/create": one_call(
            "CreatePrivilegeGroup",
            wire.PrivilegeGroup,
            lambda body, _: milvus_pb2.CreatePrivilegeGroupRequest(
                group_name=body.privilege_group_name
            ),
        ),
        "privilege_groups/drop": one_call(
            "DropPrivilegeGroup",
            wire.PrivilegeGroup,
            lambda body, _: milvus_pb2.DropPrivilegeGroupRequest(
                group_name=body.privilege_group_name
            ),
        ),
        "privilege_groups/add_privileges_to_group": _change_group(
            milvus_pb2.OperatePrivilegeGroupType.AddPrivilegesToGroup
        ),
        "privilege_groups/remove_privileges_from_group": _change_group(
            milvus_pb2.OperatePrivilegeGroupType.RemovePrivilegesFromGroup
        ),
    }
)
