// Requests to the server, and their errors.

const KEY = "specbranch-key";

/** An error answer of the server, in OpenAI's shape or in another. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status HTTP status; 0: the error came within a stream
   * @param {number | null} retryAfter seconds to wait; null: the server gave no time
   */
  constructor(message, status, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The connection failed or broke. */
export class ConnectionLost extends Error {}

/** Keeps the API key until the tab is closed. @param {string} key */
export function rememberKey(key) {
  sessionStorage.setItem(KEY, key);
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return {
    "Content-Type": "application/json",
    ...(key ? { Authorization: `Bearer ${key}` } : {}),
  };
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function errorOf(response) {
  const after = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  let message = `${response.status} ${response.statusText}`.trim();
  try {
    message = messageOf(await response.json()) ?? message;
  } catch {
    // Not JSON: use the status only.
  }
  return new ApiError(message, response.status, Number.isFinite(after) ? after : null);
}

/**
 * The message of an error in OpenAI's shape.
 * @param {any} body
 * @returns {string | undefined}
 */
export function messageOf(body) {
  const error = body?.error;
  return typeof error === "string" ? error : error?.message;
}

/**
 * @param {string} path relative to the page
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers() });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ConnectionLost("the server does not answer");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/**
 * Starts a streamed completion.
 * @param {import("./requests.js").Request} what
 * @param {AbortSignal} signal ends the request
 */
export async function post(what, signal) {
  return request(what.path, { method: "POST", body: JSON.stringify(what.body), signal });
}

/**
 * The served model and its description.
 * @returns {Promise<{id: string, meta?: Record<string, any>}>}
 */
export async function getModel() {
  const list = await (await request("v1/models")).json();
  if (!list.data?.length) throw new ApiError("the server has no model", 0);
  return list.data[0];
}

/**
 * The texts of the server, and what their models did since the last look.
 * @param {string} seen how many commands are known of each text
 * @returns {Promise<any>}
 */
export async function getTimelines(seen) {
  return (await request(`slots/timelines?seen=${seen}`)).json();
}

/** @returns {Promise<{requests_processing?: number, requests_waiting?: number}>} */
export async function getHealth() {
  return (await request("health")).json();
}
