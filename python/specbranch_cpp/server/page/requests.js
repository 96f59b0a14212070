// Requests to the server.

/**
 * @typedef {object} Settings
 * @property {"chat" | "complete"} kind
 * @property {string} mode
 * @property {number} maxTokens
 * @property {number} temperature
 * @property {number} seed
 * @property {number | null} kMax null: the value of the server
 *
 * @typedef {{role: "user" | "assistant", content: string}} Message
 *
 * @typedef {object} Request
 * @property {string} path
 * @property {Record<string, any>} body
 * @property {string} key equal for requests that must give the same text
 * @property {boolean} speculates
 */

export const PLAIN = "autoregressive";

/**
 * @param {string} model
 * @param {string | Message[]} input a prompt, or the conversation so far
 * @param {Settings} settings
 * @returns {Request}
 */
export function makeRequest(model, input, settings) {
  const chat = Array.isArray(input);
  const decides = {
    model,
    ...(chat ? { messages: input } : { prompt: input }),
    max_tokens: settings.maxTokens,
    temperature: settings.temperature,
    seed: settings.seed,
  };
  return {
    path: chat ? "v1/chat/completions" : "v1/completions",
    body: {
      ...decides,
      mode: settings.mode,
      ...(settings.kMax === null ? {} : { max_branches: settings.kMax }),
      stream: true,
      trace: true,
      stream_options: { include_usage: true },
    },
    key: JSON.stringify(decides),
    speculates: settings.mode !== PLAIN,
  };
}

/** A random seed, chosen here so that a second run can use the same seed. */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}
