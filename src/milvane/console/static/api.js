// The management API: the only place that anything shown comes from.

const PREFIX = "/manage/v1";
let token = "";

export class Failure extends Error {
  constructor(status, error) {
    super(error.message ?? `HTTP ${status}`);
    this.status = status;
    this.kind = error.kind ?? "";
    this.parameter = error.parameter ?? "";
  }
}

/** Make a request; throws a Failure that carries the server's own words. */
async function call(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && token) headers["x-csrf-token"] = token;
  let reply;
  try {
    reply = await fetch(PREFIX + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new Failure(0, { kind: "offline", message: "" });
  }
  if (!reply.ok) {
    const told = await reply.json().catch(() => ({}));
    const failure = new Failure(reply.status, told.error ?? {});
    if (failure.status === 401 && path !== "/session") {
      window.dispatchEvent(new CustomEvent("milvane-signed-out"));
    }
    throw failure;
  }
  return reply.status === 204 ? null : reply.json();
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const put = (path, body) => call("PUT", path, body);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

/** Join a path's parts, each written so that it cannot be read as anything else. */
export function at(...parts) {
  return "/" + parts.map((part) => encodeURIComponent(part)).join("/");
}

/** Write parameters; lists are repeated, what is empty is left out. */
export function query(values) {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== "" && each !== null && each !== undefined) written.append(name, each);
    }
  }
  const text = written.toString();
  return text ? `?${text}` : "";
}

export const address = (path) => PREFIX + path;

/** Ask for something that may not be there; null if the server has no such thing. */
export async function getIfThere(path) {
  try {
    return await get(path);
  } catch (failure) {
    if (failure.status === 404) return null;
    throw failure;
  }
}

export async function signIn(name, password) {
  const session = await post("/session", { name, password });
  token = session.csrf_token;
  return session;
}

/** Say who is signed in; null if nobody is. */
export async function findSession() {
  try {
    const session = await get("/session");
    token = session.csrf_token;
    return session;
  } catch (failure) {
    if (failure.status === 401 || failure.status === 404) return null;
    throw failure;
  }
}

export async function signOut() {
  await remove("/session");
  token = "";
}
