// Server-sent events, read from the body of a response.

import { ApiError, ConnectionLost, messageOf } from "./api.js";

/**
 * The data of each event.
 * @param {ReadableStream<BufferSource>} body
 * @returns {AsyncGenerator<string>}
 */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = dataOf(block);
        if (data) yield data;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // tells the server that the page no longer reads
  }
}

/** @param {string} block the lines of one event */
function dataOf(block) {
  return block
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");
}

/**
 * The chunks of a streamed completion, until `[DONE]`.
 * @param {Response} response
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any>}
 * @throws {ApiError} the server reported an error in the stream
 * @throws {ConnectionLost} the stream ended early
 */
export async function* chunks(response, signal) {
  if (!response.body) throw new ConnectionLost("the server sent an answer without a body");
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      const message = messageOf(chunk);
      if (message !== undefined) throw new ApiError(message, 0);
      yield chunk;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    if (error instanceof SyntaxError) throw new ConnectionLost("the server sent data that are not JSON");
    throw new ConnectionLost("the connection failed");
  }
  throw new ConnectionLost("the connection was closed before the text was complete");
}
